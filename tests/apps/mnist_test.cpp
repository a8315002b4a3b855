// What mnist writes: files, logs and results that agree with each other.
#include <sstream>

#include "core/files/safetensors.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

class Mnist : public MnistApp {
 protected:
  Args compress(const std::string& out) const {
    return {"compress", "--data",     kTiny, "--out",       path(out), "--ref-epochs",
            "2",        "--lc-steps", "2",   "--lc-epochs", "1",       "--first-epochs",
            "1",        "--bits",     "1",   "--threads",   "2"};
  }
};

TEST_F(Mnist, SameSeedSameBytes) {
  must(compress("a"));
  must(compress("b"));
  const auto a = models("a");
  EXPECT_EQ(a.size(), 4u);  // reference and compressed, graph and weights
  EXPECT_TRUE(a == models("b"));
  Args other = compress("c");
  other.insert(other.end(), {"--seed", "2"});
  must(other);
  for (const auto& [name, bytes] : models("c")) EXPECT_FALSE(a.contains(name)) << name;
}

TEST_F(Mnist, FilesAreSmallAndHoldNoPath) {
  must(compress("out"));
  for (const auto& [name, bytes] : models("out")) {
    EXPECT_EQ(bytes.find(folder.path().string()), std::string::npos) << name;
    if (name.find("lc") == std::string::npos) continue;
    EXPECT_LE(bytes.size(), name.ends_with(".json") ? 20'480u : 36'864u) << name;
  }
}

TEST_F(Mnist, ComparisonIsStoredAndNotRepeated) {
  Args args = compress("out");
  args.insert(args.end(), {"--methods", "dc,lc", "--seeds", "1,2", "--log", path("run.jsonl")});
  const Json first = json(args);
  ASSERT_EQ(first["rows"].size(), 4u);
  ASSERT_EQ(first["summary"].size(), 2u);
  EXPECT_EQ(first["summary"][0]["error_after"]["n"], 2);
  args.push_back("--resume");
  EXPECT_EQ(json(args), first);  // measured latencies too: nothing ran again

  std::istringstream log(read_file(path("run.jsonl")));
  std::map<std::string, int> events;
  for (std::string line; std::getline(log, line);) {
    const Json event = parse_json(line, "run.jsonl");
    EXPECT_TRUE(event.contains("time") && event.contains("seconds")) << line;
    const std::string name = event["event"];
    ++events[name];
    if (name == "c_step") {
      EXPECT_TRUE(event["mu"].is_number() && event["distance"].is_number() &&
                  event["changed"].is_number() && event["test_error"].is_number())
          << line;
      EXPECT_TRUE(event.contains("seed") && event.contains("method")) << line;
    }
  }
  EXPECT_EQ(events["result"], 4);
  EXPECT_EQ(events["reference"], 2);
  EXPECT_EQ(events["c_step"], 2 + 2 * 3);
  EXPECT_EQ(events["epoch"], 2 * 2 + 2 * 2);
}

TEST_F(Mnist, EvalAgreesWithCompressAndExport) {
  const Json row = json(compress("out"))["rows"][0];
  const std::string file = path("out/" + row["file"].get<std::string>());
  const Json packed =
      json({"eval", file, "--data", kTiny, "--packed-only", "--outputs", path("a.safetensors")});
  EXPECT_EQ(packed["correct"], row["correct"]);
  EXPECT_NE(packed["kernel"].get<std::string>().find("cb"), std::string::npos);

  // In integers: close, and every layer says how close.
  const Json integers = json({"eval", file, "--data", kTiny, "--compute", "int8"});
  EXPECT_NEAR(integers["test_loss"].get<double>(), packed["test_loss"].get<double>(), 0.05);
  EXPECT_NE(integers["kernel"].get<std::string>().find("s8"), std::string::npos);
  ASSERT_EQ(integers["layer_snr_db"].size(), 3u);
  for (const Json& layer : integers["layer_snr_db"]) {
    EXPECT_GT(layer["db"].get<double>(), 20);
    EXPECT_LT(layer["db"].get<double>(), 80);
  }
  EXPECT_NE(refused({"eval", file, "--data", kTiny, "--compute", "int4"}).find("--compute"),
            std::string::npos);

  // Another batch size, and the decoded weights: the same logits up to rounding.
  must({"eval", file, "--data", kTiny, "--batch", "7", "--outputs", path("b.safetensors")});
  must({"export", file, path("dense.json"), "--dense"});
  const Json dense =
      json({"eval", path("dense.json"), "--data", kTiny, "--outputs", path("c.safetensors")});
  EXPECT_EQ(dense["correct"], row["correct"]);
  EXPECT_EQ(dense["bits_per_weight"], 32);
  const auto logits = [&](const std::string& name) {
    return read_safetensors(path(name)).tensors.at("logits").to_vector<float>();
  };
  const auto a = logits("a.safetensors"), b = logits("b.safetensors"), c = logits("c.safetensors");
  ASSERT_EQ(a.size(), 1000u);
  ASSERT_EQ(b.size(), a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i], b[i], 1e-4);
    EXPECT_NEAR(a[i], c[i], 1e-4);
  }

  must({"export", file, path("weights.safetensors")});
  const Json imported =
      json({"import", path("weights.safetensors"), "--data", kTiny, "--out", path("out")});
  EXPECT_EQ(imported["correct"], row["correct"]);
  const Json again = json({"compress", "--data", kTiny, "--from", path("out/imported.json"),
                           "--method", "dc", "--out", path("out")});
  EXPECT_EQ(again["rows"][0]["correct"], row["correct"]);  // already two values per layer
}

TEST_F(Mnist, AModelThatCarriesItsPreprocessingNeedsNoTrainingImages) {
  must({"train", "--data", kTiny, "--out", path("out"), "--epochs", "1"});
  const std::string file = path("out/lenet300-reference-s1.json");
  must({"export", file, path("raw.json"), "--raw", "--data", kTiny});
  const Json prepared = json({"eval", file, "--data", kTiny});
  // Another number of training images has another mean, which the model does not ask for.
  const Json raw = json({"eval", path("raw.json"), "--data", "synthetic:50:100"});
  EXPECT_EQ(raw["correct"], prepared["correct"]);
  EXPECT_EQ(raw["bytes"].get<int>(), prepared["bytes"].get<int>() + 784 * 4);
  EXPECT_NE(refused({"eval", file, "--data", "synthetic:50:100"}).find("preprocess_sha256"),
            std::string::npos);
  EXPECT_NE(refused({"export", path("raw.json"), path("twice.json"), "--raw", "--data", kTiny})
                .find("carries its preprocessing already"),
            std::string::npos);
}

TEST_F(Mnist, EntropyCodedFilesHoldTheSameModel) {
  const std::string reference = path("reference/lenet300-reference-s1.json");
  const auto ternary = [&](const std::string& out, const Args& more) {
    Args args = {"compress",   "--data",         kTiny,    "--out",  path(out), "--method", "dc",
                 "--codebook", "ternary-scaled", "--from", reference};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  };
  must({"train", "--data", kTiny, "--out", path("reference"), "--epochs", "2"});
  const Json plain = json(ternary("plain", {}))["rows"][0],
             coded = json(ternary("coded", {"--entropy-coded"}))["rows"][0];
  for (const char* same : {"correct", "bits_per_weight", "entropy_bits", "index_bytes", "ratio"}) {
    EXPECT_EQ(coded[same], plain[same]) << same;
  }
  EXPECT_EQ(plain["file_index_bytes"], plain["index_bytes"]);
  EXPECT_EQ(plain["file_bits_per_weight"], plain["bits_per_weight"]);
  // Three values in 2 bits: at most 1.59 of them are information.
  EXPECT_LT(coded["file_bits_per_weight"].get<double>(), 1.62);
  EXPECT_GT(coded["file_bits_per_weight"].get<double>(), coded["entropy_bits"].get<double>());
  EXPECT_LT(coded["weights_bytes"].get<int>(), plain["weights_bytes"].get<int>());
  const Json eval =
      json({"eval", path("coded/" + coded["file"].get<std::string>()), "--data", kTiny});
  EXPECT_EQ(eval["correct"], plain["correct"]);
  EXPECT_EQ(eval["file_bits_per_weight"], coded["file_bits_per_weight"]);
  EXPECT_NE(must(ternary("coded", {"--entropy-coded"})).out.find("coded B"), std::string::npos);
  // A stored result tells the bytes of its file.
  EXPECT_NE(refused(ternary("coded", {"--resume"})).find("entropy_coded"), std::string::npos);
}

// Through every program that reads models: sums of codebook and correction stay packed.
TEST_F(Mnist, SharedCodebooksWithCorrections) {
  for (const std::string net : {"lenet300", "lenet5"}) {
    SCOPED_TRACE(net);
    const std::string share = net == "lenet300" ? "fc[12].*" : "conv.*";
    const Json all =
        json({"compress", "--net", net, "--data", kTiny, "--out", path("out"), "--ref-epochs", "1",
              "--method", "dc", "--bits", "2", "--sparse", "0,0.01", "--share", share});
    ASSERT_EQ(all["rows"].size(), 2u);
    const Json plain = all["rows"][0], row = all["rows"][1];
    EXPECT_EQ(row["file"], net + "-dc-adaptive4-sparse0.01-s1.json");
    EXPECT_EQ(plain["sparse_bytes"], 0);
    EXPECT_GT(row["sparse_bytes"], 0);
    EXPECT_LT(row["distance"], plain["distance"]);
    EXPECT_EQ(row["codebook_bytes"], net == "lenet300" ? 2 * 16 : 3 * 16);
    EXPECT_TRUE(row["decoded"].empty()) << row["decoded"];
    const std::string file = path("out/" + row["file"].get<std::string>());
    const Json eval = json({"eval", file, "--data", kTiny, "--packed-only"});
    EXPECT_EQ(eval["correct"], row["correct"]);
    must({"export", file, path(net + "-dense.json"), "--dense"});
    EXPECT_EQ(json({"eval", path(net + "-dense.json"), "--data", kTiny})["correct"],
              row["correct"]);
    const auto tool = program("tessera");
    if (!std::filesystem::exists(tool)) continue;
    const Result verify = run(tool, {"verify", file, "--packed-only"}, folder.path());
    EXPECT_EQ(verify.code, 0) << verify.error << verify.out;
    const Result inspect = run(tool, {"inspect", file}, folder.path());
    EXPECT_NE(inspect.out.find("whole-tensor decodes: none"), std::string::npos) << inspect.out;
    EXPECT_NE(inspect.out.find("cb2+sparse"), std::string::npos) << inspect.out;
  }
}

TEST_F(Mnist, LeNet5TakesImages) {
  const Json row = json({"compress", "--net", "lenet5", "--data", "synthetic:64:20", "--out",
                         path("out"), "--ref-epochs", "1", "--ref-batch", "32", "--method", "dc",
                         "--bits", "4", "--group-rows", "10"})["rows"][0];
  EXPECT_EQ(row["file"], "lenet5-dc-adaptive16-g10-s1.json");
  const std::string file = path("out/" + row["file"].get<std::string>());
  const Json eval = json({"eval", file, "--data", "synthetic:64:20"});
  EXPECT_EQ(eval["correct"], row["correct"]);
  EXPECT_TRUE(refused({"compress", "--net", "lenet300", "--from", file}).find("'lenet5'") !=
              std::string::npos);
}

TEST_F(Mnist, BenchReportsBothSteps) {
  const Json bench = json({"bench", "--data", "synthetic:2000:100", "--train", "--batch", "64",
                           "--repeat", "1", "--trace", path("trace.json")});
  EXPECT_GT(bench["train_step_ms"].get<double>(), 0);
  EXPECT_GT(bench["train_step_lc_ms"].get<double>(), 0);
  EXPECT_GT(bench["peak_gflops"].get<double>(), 0);
  EXPECT_FALSE(bench["steps"].empty());
  EXPECT_TRUE(parse_json(read_file(path("trace.json")), "trace").contains("traceEvents"));
}

}  // namespace
}  // namespace tessera::testing
