// cifar10 on a few built-in images: train, compress, import, resume, bench.
#include <cmath>
#include <sstream>

#include "core/files/safetensors.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Cifar10 : public App {
 protected:
  Cifar10() : App("cifar10") {}

  static Args with(Args args, const Args& more) {
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
  Args train(const std::string& out) const {
    return {"train",    "--data", "synthetic:96:40", "--net", "resnet20",  "--out", path(out),
            "--epochs", "3",      "--batch",         "32",    "--threads", "1",     "--quiet"};
  }
  Args compress(const std::string& from, const Args& more) const {
    return with({"compress", "--data", "synthetic:96:40", "--from", from, "--out", path("out"),
                 "--threads", "1"},
                more);
  }
  const std::string reference = "out/resnet20-reference-s1.json";
};

TEST_F(Cifar10, CompressesAndRunsConvolutions) {
  must(train("out"));
  const Json all = json(compress(path(reference), {"--method", "dc,lc", "--bits", "2", "--lc-steps",
                                                   "2", "--first-epochs", "1", "--batch", "32"}));
  ASSERT_EQ(all["rows"].size(), 2u);
  EXPECT_EQ(all["network"], "resnet20");
  for (const Json& row : all["rows"]) {
    // 268,336 weights become 2 bits; biases, batch-norm and its statistics stay.
    EXPECT_GT(row["bits_per_weight"].get<double>(), 2);
    EXPECT_LT(row["bits_per_weight"].get<double>(), 2.02);
    EXPECT_GT(row["effective_bits"].get<double>(), row["bits_per_weight"].get<double>());
    EXPECT_LT(row["effective_bits"].get<double>(), 3);
    EXPECT_GE(row["weights_bytes"].get<std::int64_t>(),
              row["index_bytes"].get<std::int64_t>() + row["codebook_bytes"].get<std::int64_t>() +
                  row["dense_bytes"].get<std::int64_t>());
    EXPECT_EQ(row["dense_bytes"].get<std::int64_t>(), 4 * (4 * 688 + 10));  // four a channel
    EXPECT_TRUE(row["decoded"].is_array());

    const Json eval = json({"eval", path("out/" + row["file"].get<std::string>()), "--data",
                            "synthetic:96:40", "--batch", "7"});
    EXPECT_EQ(eval["correct"], row["correct"]);
    EXPECT_EQ(eval["decoded"], row["decoded"]);
  }
  // The network comes from the file, and must not be named otherwise.
  EXPECT_TRUE(contains(refused(compress(path(reference), {"--net", "vgg16"})),
                       "holds the network 'resnet20'"));
}

TEST_F(Cifar10, KilledAndResumed) {
  must(train("whole"));
  const Args args = with(train("killed"), {"--checkpoint-seconds", "0", "--resume"});
  {
    Process process(app, args, folder.path());
    const auto checkpoint = folder.path() / "killed/resnet20-reference-s1.checkpoint";
    while (!std::filesystem::exists(checkpoint) && !process.wait(0.001)) {
    }
    process.send(SIGKILL);
    EXPECT_EQ(process.wait().code, -SIGKILL);
    EXPECT_TRUE(std::filesystem::exists(checkpoint));
  }
  must(args);
  EXPECT_TRUE(models("killed") == models("whole"));
}

TEST_F(Cifar10, PlansByPolicyNameEveryTensor) {
  const Result plan =
      must({"compress", "--data", "synthetic:20:20", "--net", "mobilenet_v1_cifar", "--width",
            "0.25", "--bits", "4", "--policy", "first-last-8,depthwise-per-channel", "--rule",
            "fc.weight=skip", "--plan"});
  EXPECT_TRUE(contains(plan.out, "model.0.0.weight")) << plan.out;
  EXPECT_TRUE(contains(plan.out, "dense: first layer, too small")) << plan.out;
  EXPECT_TRUE(contains(plan.out, "one codebook per 4 rows (depthwise)")) << plan.out;
  EXPECT_TRUE(contains(plan.out, "dense: rule 'fc.weight'")) << plan.out;
  EXPECT_TRUE(contains(plan.out, "dense: bias or scale")) << plan.out;
  EXPECT_TRUE(contains(refused({"compress", "--policy", "some"}),
                       "--policy: preset: 'some' is unknown; known are all"));
}

// The authors' MOCQ, small: what they quantize, and nothing else.
TEST_F(Cifar10, PresetOfMocqAuthors) {
  const Args args = {
      "compress", "--data",    "synthetic:96:40", "--net", "resnet20", "--preset", "mocq-authors",
      "--out",    path("out"), "--train-epochs",  "7",     "--batch",  "32",       "--threads",
      "1"};
  const Json all = json(args);
  ASSERT_EQ(all["rows"].size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(path(reference)));  // none was trained
  const Json row = all["rows"][0];
  EXPECT_EQ(row["method"], "mocq-authors");
  // 3x3 convolutions of the stages; the stem, the last layer and four numbers a channel are f32.
  EXPECT_EQ(row["index_bytes"].get<std::int64_t>(), (268'336 - 432 - 640) * 2 / 8);
  EXPECT_EQ(row["dense_bytes"].get<std::int64_t>(), 4 * (432 + 640 + 4 * 688 + 10));
  const std::string file = path("out/" + row["file"].get<std::string>());
  const Json model = parse_json(read_file(file), file);
  const Json settings = model["settings"];
  EXPECT_EQ(settings["start"], "untrained");
  EXPECT_EQ(settings["activations"], "dorefa 4 bits of activations");
  EXPECT_EQ(settings["stem"], "linear");
  EXPECT_EQ(settings["momentum"], "0.9");
  EXPECT_EQ(settings["nesterov"], "off");
  // Two activations a block are rounded to 15 steps.
  std::size_t rounded = 0;
  const std::string graph = read_file(file);
  for (std::size_t at = 0; (at = graph.find("\"round\"", at)) != graph.npos; ++at) ++rounded;
  EXPECT_EQ(rounded, 18u) << graph.substr(0, 2000);
  // The rate after each epoch, of seven.
  std::vector<double> rates;
  std::istringstream log(read_file(file.substr(0, file.size() - 5) + ".log.jsonl"));
  for (std::string line; std::getline(log, line);) {
    const Json event = parse_json(line, "log");
    if (event["event"] == "epoch") rates.push_back(event["lr"].get<double>());
  }
  const std::vector<double> expected = {0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001};
  ASSERT_EQ(rates.size(), expected.size());
  for (std::size_t i = 0; i < rates.size(); ++i) EXPECT_NEAR(rates[i] / expected[i], 1, 1e-9) << i;
  // Flags win over the preset; what cannot go together is said.
  const Result plan = must(with(args, {"--policy", "all", "--bits", "3", "--plan"}));
  const std::string stem = plan.out.substr(plan.out.find("  conv1.weight"));
  EXPECT_TRUE(contains(stem.substr(0, stem.find('\n')), "adaptive:8")) << stem;
  EXPECT_TRUE(contains(refused(with(args, {"--method", "dc"})), "dc does not train"));
  EXPECT_TRUE(contains(refused(with(args, {"--activation-quantizer", "mse"})), "calibrated"));
  EXPECT_TRUE(contains(refused({"compress", "--preset", "theirs"}), "known are mocq-authors"));
}

TEST_F(Cifar10, FromScratchStartsAtTheSeedsWeights) {
  const auto stem = [&](const std::string& file) {
    must({"export", file, path("w.safetensors"), "--overwrite"});
    return read_safetensors(path("w.safetensors")).tensors.at("conv1.weight").to_vector<float>();
  };
  must(train("out"));
  must(with(train("still"), {"--lr", "1e-12", "--warmup", "0"}));
  const auto trained = stem(path(reference)),
             initial = stem(path("still/resnet20-reference-s1.json"));
  const Json row = json({"compress",
                         "--data",
                         "synthetic:96:40",
                         "--net",
                         "resnet20",
                         "--out",
                         path("out"),
                         "--method",
                         "ste",
                         "--policy",
                         "stages",
                         "--from-scratch",
                         "--train-epochs",
                         "1",
                         "--train-lr",
                         "1e-12",
                         "--batch",
                         "32",
                         "--weight-decay",
                         "0",
                         "--threads",
                         "1"})["rows"][0];
  const auto begun = stem(path("out/" + row["file"].get<std::string>()));
  EXPECT_NE(trained, initial);
  ASSERT_EQ(begun.size(), initial.size());
  for (std::size_t i = 0; i < begun.size(); ++i) EXPECT_NEAR(begun[i], initial[i], 1e-6);
}

TEST_F(Cifar10, TrainsWithQuantizedActivations) {
  must(with(train("out"), {"--activation-bits", "2", "--activation-at", "activations", "--lr-steps",
                           "1,0.5", "--warmup", "0"}));
  const std::string text = read_file(path(reference));
  const Json settings = parse_json(text, reference)["settings"];
  EXPECT_EQ(settings["activation_bits"], "2");
  EXPECT_EQ(settings["reference.lr_steps"], "x 0.1 at 1,0.5");
  EXPECT_TRUE(contains(text, "\"round\""));
  // Evaluated and compressed with them.
  const Json eval = json({"eval", path(reference), "--data", "synthetic:96:40"});
  const Json row = json(compress(path(reference), {"--method", "dc", "--bits", "8"}))["rows"][0];
  EXPECT_NEAR(row["error_before"].get<double>(), 100 * (1 - eval["correct"].get<double>() / 40),
              1e-9);
  EXPECT_TRUE(contains(read_file(path("out/" + row["file"].get<std::string>())), "\"round\""));
  EXPECT_TRUE(contains(refused(compress(path(reference), {"--activation-bits", "4"})),
                       "have 2 bits already"));
  EXPECT_TRUE(contains(refused({"train", "--activation-bits", "9"}), "--activation-bits must be"));
}

// Post-training quantization of a network that came from elsewhere: no training anywhere.
TEST_F(Cifar10, ImportedAndQuantizedAtEveryWidthAndScope) {
  must(train("out"));
  must({"export", path(reference), path("weights.safetensors")});
  auto tensors = read_safetensors(path("weights.safetensors")).tensors;
  tensors["classifier.weight"] = tensors.at("linear.weight");
  tensors["classifier.bias"] = tensors.at("linear.bias");
  tensors.erase("linear.weight");
  tensors.erase("linear.bias");
  make_safetensors(tensors).write(path("theirs.safetensors"));
  Args import = {"import", path("theirs.safetensors"),
                 "--data", "synthetic:96:40",
                 "--net",  "resnet20",
                 "--out",  path("out")};
  EXPECT_TRUE(contains(refused(import), "2 tensors missing, 2 unused"));
  import = with(import, {"--map", "/classifier.(.*)/=linear.$1"});
  const Json imported = json(import);

  const Json ptq = json(
      compress(path("out/imported.json"), {"--method", "dc", "--bits", "6,4,3", "--group-rows",
                                           "0,4", "--policy", "first-last-8", "--batch", "32"}));
  ASSERT_EQ(ptq["rows"].size(), 6u);
  std::map<std::int64_t, double> last;  // distance by scope: less with more bits
  for (const Json& row : ptq["rows"]) {
    EXPECT_EQ(row["error_before"], imported["test_error"]);
    EXPECT_EQ(row["error_dc"], row["error_after"]);
    const auto scope = row["group_rows"].get<std::int64_t>();
    const double distance = row["distance"].get<double>();
    EXPECT_GT(distance, last[scope]) << row;
    last[scope] = distance;
  }
  EXPECT_LT(last[4], last[0]);  // and less with more codebooks
}

TEST_F(Cifar10, BenchOnRandomImages) {
  const Json bench =
      json({"bench", "--train", "--data", "random", "--net", "resnet20", "--batch", "4", "--repeat",
            "1", "--steps", "20", "--method", "none", "--threads", "1", "--peak-memory"});
  EXPECT_GT(bench["train_step_ms"].get<double>(), 0);
  EXPECT_FALSE(bench.contains("train_step_lc_ms"));
  EXPECT_GT(bench["peak_memory_bytes"].get<std::int64_t>(), 1 << 20);
  double share = 0;
  for (const Json& step : bench["steps"]) share += step["share"].get<double>();
  EXPECT_NEAR(share, 1, 1e-9);
}

TEST_F(Cifar10, Usage) {
  EXPECT_TRUE(contains(refused({}), "a verb is needed"));
  EXPECT_TRUE(contains(refused({"train", "--net", "lenet300"}),
                       "--net: 'lenet300' is unknown; known are resnet20"));
  EXPECT_TRUE(contains(refused({"train", "--width", "wide"}), "--width must be a number"));
  EXPECT_TRUE(contains(refused({"train", "--net", "vgg16", "--width", "2"}), "no width"));
  EXPECT_TRUE(contains(refused({"train", "--net", "vgg16", "--stem", "linear"}), "no choice"));
  EXPECT_TRUE(contains(refused({"train", "--stem", "tanh"}), "--stem must be relu or linear"));
  EXPECT_TRUE(contains(refused({"train", "--lr-steps", "1,x"}), "--lr-steps: expected a number"));
  EXPECT_TRUE(contains(refused({"train", "--data", "synthetic:20:20", "--augment", "rotate"}),
                       "expected none, or a list of crop, flip, cutout"));
  EXPECT_TRUE(contains(refused({"train", "--preprocess", "none"}), "moments or imagenet"));
  EXPECT_TRUE(contains(refused({"train", "--data", path("nowhere")}), "data_batch_1.bin"));
}

}  // namespace
}  // namespace tessera::testing
