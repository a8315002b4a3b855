// cifar10 on a few built-in images: train, compress, import, resume, bench.
#include <cmath>

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
  EXPECT_TRUE(contains(refused({"compress", "--policy", "some"}), "policy 'some' is unknown"));
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
  EXPECT_TRUE(contains(refused({"train", "--net", "lenet300"}), "--net must be resnet20"));
  EXPECT_TRUE(contains(refused({"train", "--width", "wide"}), "--width must be a number"));
  EXPECT_TRUE(contains(refused({"train", "--net", "vgg16", "--width", "2"}), "no width"));
  EXPECT_TRUE(contains(refused({"train", "--data", "synthetic:20:20", "--augment", "rotate"}),
                       "expected none, or a list of crop, flip, cutout"));
  EXPECT_TRUE(contains(refused({"train", "--preprocess", "none"}), "moments or imagenet"));
  EXPECT_TRUE(contains(refused({"train", "--data", path("nowhere")}), "data_batch_1.bin"));
}

}  // namespace
}  // namespace tessera::testing
