// mnist as a process: what it refuses, and that every refusal is one line with exit code 2.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <limits>

#include "core/files/safetensors.h"
#include "core/files/sha256.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class MnistCli : public MnistApp {
 protected:
  void expect_refused(const Args& args, const std::string& part) {
    const std::string message = refused(args);
    EXPECT_TRUE(contains(message, part)) << "'" << message << "' should say '" << part << "'";
  }
  Args train(const std::string& out, const Args& more = {}) const {
    Args args = {"train", "--data", kTiny, "--epochs", "1", "--out", path(out), "--quiet"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

TEST_F(MnistCli, HelpOfEveryVerb) {
  const std::string help = must({"--help"}).out;
  for (const std::string verb :
       {"train", "compress", "compare", "eval", "bench", "export", "import"}) {
    EXPECT_TRUE(contains(help, verb));
    EXPECT_TRUE(contains(must({verb, "--help"}).out, "usage: mnist " + verb));
  }
  EXPECT_TRUE(contains(must({"--help-story"}).out, "--lc-steps"));
}

TEST_F(MnistCli, Usage) {
  expect_refused({"frobnicate"}, "verb: 'frobnicate' is unknown; known are train");
  expect_refused({"train", "--frobnicate"}, "--frobnicate");
  expect_refused({"train", "--epoch", "3"}, "--epoch");  // no guessing of flags
  expect_refused({"train", "stray"}, "unexpected argument 'stray'");
  expect_refused({"train", "--epochs", "many"}, "--epochs");
  expect_refused({"train", "--epochs", "0"}, "--epochs must be 1");
  expect_refused({"train", "--lr", "nan"}, "--lr must be positive");
  expect_refused({"train", "--seed", "-1"}, "--seed must be 0");
  expect_refused({"train", "--threads", "1000"}, "threads");
  expect_refused({"train", "--activation", "step"}, "tanh or relu");
  expect_refused({"train", "--name", "a/b"}, "--name");
  expect_refused({"eval"}, "expected one model file");
  expect_refused({"export", "a.json", "b.bin"}, ".json or .safetensors");
}

TEST_F(MnistCli, Codebooks) {
  expect_refused({"compress", "--bits", "0"}, "--bits must be 1 to 8, got 0");
  expect_refused({"compress", "--bits", "9"}, "--bits must be 1 to 8, got 9");
  expect_refused({"compress", "--bits", "1,,2"}, "--bits");
  expect_refused({"compress", "--k", "100000"}, "--k must be 1 to 256, got 100000");
  expect_refused({"compress", "--k", "0"}, "--k must be 1 to 256, got 0");
  expect_refused({"compress", "--bits", "1,2,1"}, "'adaptive:2' is given twice");
  expect_refused({"compress", "--method", "dc,dc"}, "'dc' is given twice");
  expect_refused({"train", "--seed", "2,2"}, "'2' is given twice");
  expect_refused({"compress", "--codebook", "adaptive:4@64"}, "has no scale");
  expect_refused({"compress", "--data", kTiny, "--method", "twn", "--bits", "1"},
                 "must have 2 bits, which three levels take");
  expect_refused({"compress", "--data", kTiny, "--method", "qar", "--codebook", "pow2:2"},
                 "qar does not make codebooks of pow2:2");
  expect_refused({"compress", "--data", kTiny, "--target-bpw", "3", "--share", "fc.*"}, "exclude");
  expect_refused({"compress", "--bits", "1", "--k", "2"}, "exclude");
  expect_refused({"compress", "--codebook", "binary", "--bits", "2"}, "--codebook adaptive");
  expect_refused({"compress", "--codebook", "magic"}, "magic");
  expect_refused({"compress", "--method", "dc,magic"}, "--method: 'magic' is unknown");
  // The last layer has 10 rows of 100 weights.
  expect_refused({"compress", "--data", kTiny, "--bits", "8", "--group-rows", "1"},
                 "'fc3.weight': 256 entries for 100 weights");
  expect_refused({"compress", "--data", kTiny, "--rule", "fc9.*=skip"}, "matches no parameter");
  expect_refused({"compress", "--data", kTiny, "--rule", "(=skip"}, "regular expression");
  expect_refused({"compress", "--data", kTiny, "--rule", "skip"}, "--rule 'skip'");
  expect_refused({"compress", "--data", kTiny, "--rule", ".*=skip"}, "nothing to compress");
  expect_refused({"compress", "--data", kTiny, "--sparse", "0.6"}, "--sparse must be 0 to 0.5");
  expect_refused({"compress", "--data", kTiny, "--sparse", "some"}, "expected a number");
  expect_refused({"compress", "--data", kTiny, "--rule", "fc1.*=binary/s2"}, "sparse share");
  expect_refused({"compress", "--data", kTiny, "--share", "fc1.*"}, "it needs two or more");
  expect_refused({"compress", "--data", kTiny, "--share", "fc.*", "--rule", "fc2.weight=binary"},
                 "'fc1.weight' is adaptive:2, 'fc2.weight' binary");
}

TEST_F(MnistCli, NetworksAndQuantizersOfActivationsHaveFlagsOfTheirOwn) {
  for (const std::string verb : {"compress", "compare"}) {
    const Result plan = must({verb, "--data", kTiny, "--plan", "--out", path("none"), "--methods",
                              "dc", "--activation", "relu", "--activation-bits", "4",
                              "--activation-quantizer", "minmax"});
    EXPECT_TRUE(contains(plan.out, "fc1.weight") || contains(plan.out, "relu")) << plan.out;
  }
}

TEST_F(MnistCli, NothingIsReplacedUnasked) {
  const Args common = {"--data", kTiny, "--out", path("kept"), "--threads", "1"};
  const auto with = [&](Args args, const Args& more) {
    args.insert(args.end(), common.begin(), common.end());
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  must(with({"train"}, {"--epochs", "1"}));
  const auto trained = models("kept");
  // The reference is there, so compress does not train it again, nor another one in its place.
  const Args dc = with({"compress"}, {"--ref-epochs", "1", "--method", "dc", "--bits", "2"});
  EXPECT_TRUE(contains(must(dc).out, "reference, seed 1: already in"));
  const auto before = models("kept");
  for (const auto& [file, bytes] : trained) EXPECT_EQ(before.at(file), bytes) << file;
  // Other settings: the way out takes the reference as it is, and none replaces it.
  const std::string reference = path("kept/lenet300-reference-s1.json");
  for (const std::string verb : {"compress", "compare"}) {
    for (const Args& more : {Args{}, Args{"--overwrite"}, Args{"--resume"}}) {
      Args args = with({verb}, {"--ref-epochs", "2", "--methods", "dc", "--seeds", "2,1"});
      args.insert(args.end(), more.begin(), more.end());
      const std::string said = refused(args);
      EXPECT_TRUE(contains(said, "is of other settings: reference.epochs: was 1, now 2")) << said;
      EXPECT_TRUE(contains(said, "--from " + reference)) << said;
      EXPECT_FALSE(contains(said, "overwrite")) << said;
    }
  }
  EXPECT_TRUE(models("kept") == before);
  must(with({"compress"}, {"--from", reference, "--method", "dc", "--bits", "2", "--name", "own"}));
  // Without its result, which a killed run may not have written, it is still a reference.
  std::filesystem::remove(path("kept/lenet300-reference-s1.result"));
  EXPECT_TRUE(contains(refused(with({"compress"}, {"--ref-epochs", "2"})), "--from " + reference));
  const auto now = models("kept");
  for (const auto& [file, bytes] : before) EXPECT_EQ(now.at(file), bytes) << file;
  Args skipping = dc;
  skipping.insert(skipping.end(), {"--rule", "fc1.*=skip"});
  expect_refused(skipping, "--overwrite replaces it");
  EXPECT_TRUE(models("kept") == now);
  skipping.push_back("--overwrite");
  must(skipping);
  EXPECT_FALSE(models("kept") == now);
  for (const auto& [file, bytes] : trained) EXPECT_EQ(models("kept").at(file), bytes) << file;
  // train is asked for a reference, and says how another may take its place.
  expect_refused(with({"train"}, {"--epochs", "2"}), "--overwrite replaces it");
  must(with({"train"}, {"--epochs", "2", "--overwrite"}));
}

TEST_F(MnistCli, UnfinishedTrainingIsNotReplacedUnasked) {
  Args args = train("out", {"--threads", "1"});
  *(std::find(args.begin(), args.end(), "--epochs") + 1) = "100000";
  Process process(app, args, folder.path());
  const auto checkpoint = path("out/lenet300-reference-s1.checkpoint");
  for (int i = 0; i < 4000 && !std::filesystem::exists(path("out")); ++i)
    ASSERT_FALSE(process.wait(0.005));
  ASSERT_FALSE(process.wait(0.5));
  process.send(SIGINT);
  EXPECT_EQ(process.wait().code, 130);
  const std::string kept = read_file(checkpoint);
  const std::string said =
      refused({"compress", "--data", kTiny, "--out", path("out"), "--ref-epochs", "1"});
  EXPECT_TRUE(contains(said, "unfinished training of other settings")) << said;
  EXPECT_TRUE(contains(said, "train --resume")) << said;
  EXPECT_TRUE(contains(refused(train("out")), "reference.epochs: was 100000, now 1"));
  EXPECT_EQ(read_file(checkpoint), kept);
}

TEST_F(MnistCli, TrainingStartsFromAModel) {
  must(train("a", {"--activation", "relu"}));
  const std::string from = path("a/lenet300-reference-s1.json");
  // A rate of nothing worth: the weights that come out are those that went in, and the network is
  // the file's.
  const Args more = {"--from", from, "--lr", "1e-12", "--momentum", "0"};
  must(train("b", more));
  const auto weights = [&](const std::string& folder) {
    for (const auto& [file, bytes] : models(folder)) {
      if (file.ends_with(".safetensors"))
        return read_safetensors(path(folder + "/" + file)).tensors;
    }
    return decltype(read_safetensors(from).tensors){};
  };
  const auto a = weights("a"), b = weights("b");
  ASSERT_EQ(a.size(), 6u);
  for (const auto& [name, tensor] : a) {
    const auto x = tensor.to_vector<float>(), y = b.at(name).to_vector<float>();
    ASSERT_EQ(x.size(), y.size());
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], 1e-6) << name;
  }
  // What it started from is one of its settings.
  expect_refused(train("b", {"--activation", "relu", "--lr", "1e-12", "--momentum", "0"}),
                 "reference.from_sha256: was ");
  Args again = train("b", more);
  again.push_back("--resume");
  must(again);
  expect_refused(train("c", {"--from", path("none.json")}), "none.json");
  expect_refused(train("c", {"--from", from, "--net", "lenet5"}), "lenet300");
}

TEST_F(MnistCli, PlanNamesEveryTensorAndStops) {
  const Result plan = must({"compress", "--data", kTiny, "--plan", "--out", path("none"), "--rule",
                            "fc3.weight=adaptive:16/g5", "--rule", "fc1.*=skip"});
  EXPECT_TRUE(contains(plan.out, "dense: rule 'fc1.*'")) << plan.out;
  EXPECT_TRUE(contains(plan.out, "adaptive:16, 4 bits a weight, one codebook per 5 rows"));
  EXPECT_TRUE(contains(plan.out, "dense: bias"));
  EXPECT_FALSE(std::filesystem::exists(path("none")));
}

TEST_F(MnistCli, Data) {
  expect_refused({"train", "--data", path("nowhere")}, "train-images-idx3-ubyte");
  using datasets::big_endian;
  const std::string images = big_endian(0x803) + big_endian(2) + big_endian(28) + big_endian(28) +
                             std::string(2 * 28 * 28, '\1');
  const std::string labels = big_endian(0x801) + big_endian(2) + std::string(2, '\1');
  const auto write = [&](const std::string& x, const std::string& y) {
    folder.write("set/train-images-idx3-ubyte", x);
    folder.write("set/train-labels-idx1-ubyte", y);
    folder.write("set/t10k-images-idx3-ubyte", images);
    folder.write("set/t10k-labels-idx1-ubyte", labels);
  };
  const Args args = {"train", "--data", path("set"), "--out", path("out")};
  write(images.substr(0, 100), labels);
  expect_refused(args, "train-images-idx3-ubyte");
  write(big_endian(0x999) + images.substr(4), labels);
  expect_refused(args, "train-images-idx3-ubyte");
  write(images, labels + "\1");
  expect_refused(args, "train-labels-idx1-ubyte");
  write(images, big_endian(0x801) + big_endian(1) + "\1");
  expect_refused(args, "train-labels-idx1-ubyte");
  EXPECT_FALSE(std::filesystem::exists(path("out")));  // nothing half-written
  expect_refused({"train", "--data", "synthetic:0"}, "images must be 1");
  expect_refused({"train", "--data", "synthetic:1:2:3"}, "synthetic:TRAIN:TEST");
}

TEST_F(MnistCli, OutputsThatCannotBeWritten) {
  folder.write("file", "text");
  expect_refused(train("file"), "--out");
  expect_refused(train("file/below"), "--out");
  expect_refused(train("out", {"--log", path("nowhere/run.jsonl")}), "--log");
  expect_refused(train("out", {"--json", path("nowhere/results.json")}), "--json");
}

TEST_F(MnistCli, WeightsThatAreNaN) {
  must(train("out"));
  const std::string model = path("out/lenet300-reference-s1.json");
  const std::string text = read_file(model);
  Json json = parse_json(text, model);
  const std::string weights = json["weights"]["file"];
  // A file whose hash is right and whose weights are not.
  auto tensors = read_safetensors(path("out/" + weights)).tensors;
  tensors["fc2.weight"].span<float>()[7] = std::numeric_limits<float>::quiet_NaN();
  const auto image = make_safetensors(tensors);
  const std::string hash = image.sha256();
  const std::string name = "bad-" + hash.substr(0, 12) + ".safetensors";
  image.write(path(name));
  std::string bad = text;
  bad.replace(bad.find(weights), weights.size(), name);
  const std::string old_hash = json["weights"]["sha256"];
  bad.replace(bad.find(old_hash), old_hash.size(), hash);
  folder.write("bad.json", bad);
  const Args from = {"compress",       "--data", kTiny,       "--from",
                     path("bad.json"), "--out",  path("out2")};
  expect_refused(from, "'fc2.weight': element 7 is NaN");
  expect_refused({"import", path(name), "--data", kTiny, "--out", path("out2")}, "NaN");
  EXPECT_FALSE(std::filesystem::exists(path("out2")));
}

TEST_F(MnistCli, ModelsThatDoNotFit) {
  must(train("out"));
  const std::string reference = path("out/lenet300-reference-s1.json");
  expect_refused({"eval", reference, "--data", "synthetic:500:100"}, "preprocess_sha256");
  expect_refused({"eval", path("none.json")}, "none.json");
  must({"compress", "--data", kTiny, "--from", reference, "--method", "dc", "--out", path("out"),
        "--quiet"});
  const std::string packed = path("out/lenet300-dc-adaptive2-s1.json");
  expect_refused({"compress", "--data", kTiny, "--from", packed, "--out", path("out")},
                 "no 'fc1.weight'");
  must({"export", packed, path("weights.safetensors"), "--quiet"});
  expect_refused({"import", path("weights.safetensors"), "--data", kTiny, "--map",
                  "fc1.weight=fc9.weight", "--out", path("out")},
                 "1 tensors missing, 1 unused");
  expect_refused({"bench", path("none.json"), "--data", kTiny, "--infer"}, "none.json");
  expect_refused({"export", packed, packed, "--dense"}, "is there already");
  expect_refused({"export", packed, path("weights.safetensors")}, "is there already");
  must({"export", packed, path("weights.safetensors"), "--overwrite", "--quiet"});
}

TEST_F(MnistCli, ImportsReplaceOtherWeightsWhenAsked) {
  must(train("out"));
  must({"export", path("out/lenet300-reference-s1.json"), path("a.safetensors"), "--quiet"});
  auto tensors = read_safetensors(path("a.safetensors")).tensors;
  tensors["fc2.bias"] = tensors.at("fc2.bias").clone();
  tensors["fc2.bias"].span<float>()[0] += 1;
  make_safetensors(tensors).write(path("b.safetensors"));
  const auto import = [&](const char* file) {
    return Args{"import", path(file), "--data", kTiny, "--out", path("out"), "--quiet"};
  };
  must(import("a.safetensors"));
  must(import("a.safetensors"));
  expect_refused(import("b.safetensors"), "imported.json holds other weights");
  Args replace = import("b.safetensors");
  replace.push_back("--overwrite");
  must(replace);
}

TEST_F(MnistCli, ResumeUnderOtherSettings) {
  must(train("out"));
  Args changed = train("out", {"--resume", "--momentum", "0.5"});
  expect_refused(changed, "reference.momentum: was 0.9, now 0.5");
}

}  // namespace
}  // namespace tessera::testing
