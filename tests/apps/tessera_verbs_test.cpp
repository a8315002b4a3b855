// tessera diff, plan, sensitivity, bench, merge, and export as a header.
#include <cmath>
#include <set>

#include "core/files/model.h"
#include "core/graph_text.h"
#include "ops/load.h"
#include "quant/pack/decoded.h"
#include "tests/apps/app.h"
#include "tests/core/sample_models.h"
#include "tests/test_dir.h"

namespace tessera::testing {
namespace {

class TesseraVerbs : public App {
 protected:
  TesseraVerbs() : App("tessera") {}

  std::string saved(const std::string& name, const Model& model) const {
    return save(model, path(name)).json.string();
  }
  // "2: MESSAGE" of one line behind "tessera: error: ".
  std::string refused(const Args& args) const {
    const Result result = result_of(args);
    EXPECT_EQ(result.error.find('\n'), result.error.size() - 1) << result.error;
    const std::string start = "tessera: error: ";
    EXPECT_TRUE(result.error.starts_with(start)) << result.error;
    return cat(result.code, ": ", result.error.substr(std::min(start.size(), result.error.size())));
  }
  Json json_of(Args args, int code = 0) const {
    args.insert(args.end(), {"--json", "-"});
    const Result result = result_of(args);
    EXPECT_EQ(result.code, code) << result.error;
    return parse_json(result.out, "stdout");
  }
  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }
};

Model mlp() {
  return packed_mlp({784, 30, 10}, {.bits = 2}, 4);
}

TEST_F(TesseraVerbs, DiffOfTheSame) {
  const std::string a = saved("a", mlp()), b = saved("b", mlp());
  const Result result = result_of({"diff", a, b});
  EXPECT_EQ(result.code, 0) << result.error;
  EXPECT_TRUE(result.out.starts_with("alike: graph, settings and all ")) << result.out;
  EXPECT_TRUE(json_of({"diff", a, b}).at("alike").get<bool>());
}

TEST_F(TesseraVerbs, DiffOfIndicesAndEntries) {
  const std::string a = saved("a", mlp());
  Model other = mlp();
  Tensor indices = other.state.get("fc1.weight.indices").clone();
  std::uint8_t& first = indices.span<std::uint8_t>()[0];
  first = static_cast<std::uint8_t>(first ^ 0b101);  // two of 23520 indices of two bits
  other.state.set("fc1.weight.indices", indices);
  Tensor entries = other.state.get("fc2.weight.entries").clone();
  for (float& entry : entries.span<float>()) entry *= 1.5f;
  other.state.set("fc2.weight.entries", entries);
  other.settings["seed"] = "2";
  other.settings["new"] = "x";
  const std::string b = saved("b", other);

  const Json json = json_of({"diff", a, b}, 1);
  EXPECT_FALSE(json.at("alike").get<bool>());
  EXPECT_EQ(json.at("graph").size(), 0u);
  EXPECT_EQ(json.at("settings").at("seed"), Json({"1", "2"}));
  const Model x = quant::decoded(mlp()), y = quant::decoded(other);
  int seen = 0;
  for (const Json& t : json.at("tensors")) {
    const std::string name = t.at("name");
    if (name != "fc1.weight" && name != "fc2.weight") {
      EXPECT_TRUE(t.at("alike").get<bool>()) << name;
      continue;
    }
    ++seen;
    EXPECT_FALSE(t.at("alike").get<bool>()) << name;
    const auto u = x.state.get(name).span<float>(), v = y.state.get(name).span<float>();
    double apart = 0, norm = 0;
    for (std::size_t i = 0; i < u.size(); ++i) {
      apart += std::pow(static_cast<double>(u[i]) - v[i], 2);
      norm += std::pow(static_cast<double>(u[i]), 2);
    }
    EXPECT_NEAR(t.at("relative_distance").get<double>(), std::sqrt(apart / norm), 1e-9) << name;
    EXPECT_NEAR(t.at("differing_indices").get<double>(), name == "fc1.weight" ? 2.0 / 23520 : 0,
                1e-12);
  }
  EXPECT_EQ(seen, 2);
  const Result text = result_of({"diff", a, b});
  EXPECT_EQ(text.code, 1);
  EXPECT_TRUE(contains(text.out, "setting new: (none) -> x\n")) << text.out;
  EXPECT_TRUE(contains(text.out, "setting seed: 1 -> 2\n")) << text.out;
  EXPECT_TRUE(contains(text.out, "2 of 4 tensors differ\n")) << text.out;
  EXPECT_FALSE(contains(text.out, "fc1.bias")) << text.out;
  EXPECT_TRUE(contains(result_of({"diff", a, b, "--all"}).out, "fc1.bias"));
}

// Codebooks against the weights they stand for: another encoding, no distance, the same graph.
TEST_F(TesseraVerbs, DiffOfEncodingsAndGraphs) {
  const std::string a = saved("a", mlp()), b = saved("b", quant::decoded(mlp()));
  const Json json = json_of({"diff", a, b}, 1);
  EXPECT_EQ(json.at("graph").size(), 0u) << json.at("graph");
  EXPECT_EQ(json.at("tensors")[1].at("encoding"), Json({"cb2", "f32"}));
  EXPECT_EQ(json.at("tensors")[1].at("relative_distance"), 0);
  EXPECT_TRUE(json.at("tensors")[1].at("differing_indices").is_null());

  const std::string c = saved("c", packed_mlp({784, 30, 20, 10}, {.bits = 2}, 4));
  const Json graphs = json_of({"diff", a, c}, 1);
  EXPECT_TRUE(contains(graphs.at("graph").dump(), "matmul nodes: 2 -> 3")) << graphs.at("graph");
  EXPECT_TRUE(contains(graphs.at("only_in_second").dump(), "fc3.weight"));
}

TEST_F(TesseraVerbs, DiffRefuses) {
  const std::string a = saved("a", mlp());
  EXPECT_TRUE(contains(refused({"diff", a}), "2: expected two model files"));
  EXPECT_TRUE(contains(refused({"diff", a, path("gone.json")}), "gone.json"));
  write_file(path("bad.json"), R"({"format":"tessera.graph","version":1,"nodes":[{"id":0}]})");
  EXPECT_TRUE(contains(refused({"diff", a, path("bad.json")}), "bad.json: /nodes/0"));
  Model model{Graph(ops::standard_ops()), {}};
  Rng rng(1, 1);
  model.graph.set_output("y", ops::tanh(dense_param(model.graph, model.state, "w", {2, 3}, rng)));
  const std::string other = saved("other", model);
  EXPECT_TRUE(contains(refused({"diff", a, other}),
                       "2: " + a + " and " + other + " are different networks: no tensor"));
}

TEST_F(TesseraVerbs, PlanSaysWhatCompressionMakes) {
  const std::string file = saved("dense", quant::decoded(mlp()));
  const Json json = json_of({"plan", file, "--bits", "1", "--rule", "fc2.weight=adaptive:4"});
  std::int64_t after = 0, coded = 0;
  for (const Json& t : json.at("tensors")) {
    after += t.at("bytes_after").get<std::int64_t>();
    if (!t.contains("codebook")) continue;
    ++coded;
    // The weights have four values: four entries are exact, two are not.
    const bool exact = t.at("name") == "fc2.weight";
    EXPECT_EQ(t.at("codebook"), exact ? "adaptive:4" : "adaptive:2");
    EXPECT_EQ(t.at("relative_distance").get<double>() < 1e-6, exact) << t;
  }
  EXPECT_EQ(coded, 2);
  EXPECT_EQ(json.at("bytes_before"), 4 * (784 * 30 + 30 + 30 * 10 + 10));
  EXPECT_EQ(json.at("bytes_after"), 784 * 30 / 8 + 2 * 4 + 30 * 10 / 4 + 4 * 4 + 4 * (30 + 10));
  EXPECT_EQ(json.at("bytes_after"), after);
  const Result text = result_of({"plan", saved("packed", mlp()), "--bits", "2"});
  EXPECT_EQ(text.code, 0) << text.error;
  EXPECT_TRUE(contains(text.out, "of the weights that the file's codebooks stand for"));
  EXPECT_TRUE(contains(text.out, "adaptive:4, 2 bits a weight, one codebook")) << text.out;

  EXPECT_TRUE(contains(refused({"plan", file, "--bits", "1,2"}), "one codebook at a time"));
  EXPECT_TRUE(contains(refused({"plan", file, "--rule", "nothing=skip"}), "nothing"));
  EXPECT_TRUE(contains(refused({"plan", path("gone.json")}), "gone.json"));
}

TEST_F(TesseraVerbs, SensitivityFallsWithBits) {
  const std::string file =
      saved("dense", quant::decoded(packed_mlp({784, 30, 10}, {.bits = 4}, 16)));
  const Json json = json_of({"sensitivity", file, "--bits", "1,2,4"});
  ASSERT_EQ(json.at("tensors").size(), 2u);
  for (const Json& t : json.at("tensors")) {
    const Json& distance = t.at("distance");
    EXPECT_GT(distance.at("adaptive:2").get<double>(), distance.at("adaptive:4").get<double>());
    EXPECT_GT(distance.at("adaptive:4").get<double>(), 0.01);
    EXPECT_LT(distance.at("adaptive:16").get<double>(), 1e-6);
  }
}

TEST_F(TesseraVerbs, BenchMeasuresEveryBatch) {
  const std::string file = saved("net", mlp());
  const Json json =
      json_of({"bench", file, "--batch", "1,4", "--threads", "1", "--repeat", "1", "--decoded"});
  const Json& rows = json.at("inference");
  ASSERT_EQ(rows.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rows[i].at("model"), i < 2 ? "as stored" : "decoded");
    EXPECT_EQ(rows[i].at("batch"), i % 2 ? 4 : 1);
    EXPECT_EQ(rows[i].at("threads"), 1);
    EXPECT_GT(rows[i].at("least_us").get<double>(), 0);
    EXPECT_GT(rows[i].at("arena_bytes").get<std::int64_t>(), 0);
  }
  EXPECT_LT(rows[0].at("weight_bytes").get<std::int64_t>(),
            rows[2].at("weight_bytes").get<std::int64_t>());
  EXPECT_TRUE(contains(refused({"bench", file, "--compute", "f16"}), "--compute"));
  EXPECT_TRUE(contains(refused({"bench", file, "--batch", "0"}), "--batch"));
  EXPECT_TRUE(contains(refused({"bench", path("gone.json")}), "gone.json"));
}

TEST_F(TesseraVerbs, BenchesByLayersWithMeasuredKernels) {
  const std::string file = saved("net", mlp());
  const Args args = {"bench",    file, "--batch",  "2",      "--threads",         "1",
                     "--repeat", "1",  "--layers", "--tune", path("kernels.json")};
  const Json json = json_of(args);
  const Json& layers = json.at("layers").at(0).at("layers");
  ASSERT_GE(layers.size(), 2u);
  EXPECT_EQ(layers[0].at("layer"), "fc1.weight");
  for (const char* way : {"dense", "exact", "integers"}) {
    EXPECT_GT(layers[0].at("ways").at(way).at("least_us").get<double>(), 0) << way;
    EXPECT_GT(layers[0].at("ways").at(way).at("floor_us").get<double>(), 0) << way;
  }
  EXPECT_GT(layers[0].at("ways").at("dense").at("bytes").get<std::int64_t>(),
            layers[0].at("ways").at("exact").at("bytes").get<std::int64_t>());
  const std::string kept = read_file(path("kernels.json"));
  EXPECT_TRUE(contains(kept, "matmul"));
  const Result again = result_of(args);
  EXPECT_TRUE(contains(again.out, "0 measured now")) << again.out;
  EXPECT_TRUE(contains(again.out, "fc1.weight"));
  EXPECT_EQ(read_file(path("kernels.json")), kept);
  write_file(path("kernels.json"), "{}");
  EXPECT_TRUE(contains(refused(args), "kernels.json"));
}

TEST_F(TesseraVerbs, BenchesKernels) {
  const Json json =
      json_of({"bench", "kernels", "40x33", "conv:16,17,5,3,2", "lstm:8,3", "--bits", "0,4",
               "--batch", "2", "--seconds", "0", "--threads", "1", "--cold", "--all"});
  std::set<std::string> rows, cases;
  for (const Json& row : json.at("kernels")) {
    rows.insert(row.at("row").get<std::string>());
    cases.insert(row.at("case").get<std::string>());
    EXPECT_GT(row.at("hot_us").get<double>(), 0) << row;
    EXPECT_GT(row.at("cold_us").get<double>(), 0) << row;
    EXPECT_GT(row.at("floor_us").get<double>(), 0) << row;
  }
  EXPECT_EQ(cases, (std::set<std::string>{"matmul 40x33", "conv 16->17 5x5 k3 s2", "lstm 8 T3"}));
  for (const char* row : {"matmul_f32_ref", "matmul_f32_cb_ref", "matmul_s8_cb_ref",
                          "conv2d_cb_ref", "lstm_scan_plain", "lstm_scan_cb_plain"})
    EXPECT_TRUE(rows.contains(row)) << row;
  EXPECT_TRUE(contains(refused({"bench", "kernels", "lenet9"}), "'lenet9' is unknown"));
  EXPECT_TRUE(contains(refused({"bench", "kernels", "conv:1,2"}), "conv:1,2: expected 5 to 6"));
  EXPECT_TRUE(contains(refused({"bench", "kernels", "4x4x4"}), "4x4x4: expected 2 numbers"));
  EXPECT_TRUE(contains(refused({"bench", "kernels", "--bits", "9"}), "--bits"));
}

TEST_F(TesseraVerbs, ExportsAHeader) {
  const std::string file = saved("net", mlp());
  ASSERT_EQ(result_of({"export", file, "--out", path("my-net.h")}).code, 0);
  const std::string text = read_file(path("my-net.h"));
  EXPECT_TRUE(contains(text, "namespace my_net {")) << text.substr(0, 400);
  EXPECT_TRUE(contains(text, "#include \"tessera/runtime.h\""));
  EXPECT_TRUE(contains(refused({"export", file, "--out", path("b.h"), "--batch", "2"}), "--batch"));
  EXPECT_TRUE(contains(refused({"export", file, "--format", "header", "--name", "9x"}), "'9x'"));
}

class Merge : public App {
 protected:
  Merge() : App("mnist") {}

  // What `mnist compress` leaves in a folder.
  std::string results(const std::string& name, const std::string& seed,
                      const std::string& bits) const {
    must({"compress", "--data", "synthetic:60:20", "--method", "dc", "--bits", bits, "--seed", seed,
          "--ref-epochs", "1", "--out", path(name), "--quiet"});
    return path(name);
  }
  Result merge(const Args& args) const {
    Args all = {"merge"};
    all.insert(all.end(), args.begin(), args.end());
    return run(program("tessera"), all, folder.path());
  }
};

TEST_F(Merge, OfTwoFoldersIsOneReport) {
  if (!std::filesystem::exists(program("tessera"))) GTEST_SKIP() << "tessera is not built";
  const std::string a = results("a", "1", "1"), b = results("b", "2", "1");
  const Result merged = merge({a, b, "--out", path("both")});
  ASSERT_EQ(merged.code, 0) << merged.error;
  EXPECT_NE(merged.out.find(": 2 references, 2 runs\n"), merged.out.npos) << merged.out;
  const Result report =
      run(program("tessera"), {"report", path("both"), "--out", path("r.html")}, folder.path());
  EXPECT_EQ(report.code, 0) << report.error << report.out;
  EXPECT_NE(report.out.find("4 runs of 1 network\n"), report.out.npos) << report.out;
  EXPECT_FALSE(std::filesystem::exists(path("both/lenet300-dc-adaptive2-s1.json")));
  EXPECT_NE(merge({a, b, "--out", path("both")}).error.find("expected an empty folder"),
            std::string::npos);

  // The same names: the same files may meet, others may not.
  EXPECT_EQ(merge({a, a, "--out", path("twice")}).code, 0);
  must({"compress", "--data", "synthetic:80:20", "--method", "dc", "--bits", "1", "--ref-epochs",
        "1", "--out", path("c"), "--quiet"});
  const Result clash = merge({a, path("c"), "--out", path("clash")});
  EXPECT_EQ(clash.code, 2);
  EXPECT_NE(clash.error.find("--prefix puts the folders' names before both"), clash.error.npos)
      << clash.error;
  EXPECT_FALSE(std::filesystem::exists(path("clash")));
  const Result prefixed = merge({a, path("c"), "--out", path("clash"), "--prefix"});
  EXPECT_EQ(prefixed.code, 0) << prefixed.error;
  EXPECT_TRUE(std::filesystem::exists(path("clash/c-lenet300-dc-adaptive2-s1.result")));

  // Nothing is made of a damaged result, or of a folder without one.
  write_file(path("c/lenet300-dc-adaptive2-s1.result"), "{");
  const Result damaged = merge({b, path("c"), "--out", path("d")});
  EXPECT_EQ(damaged.code, 2);
  EXPECT_NE(damaged.error.find("c/lenet300-dc-adaptive2-s1.result"), damaged.error.npos);
  EXPECT_FALSE(std::filesystem::exists(path("d")));
  std::filesystem::create_directory(path("empty"));
  EXPECT_NE(merge({b, path("empty"), "--out", path("d")}).error.find("holds no result"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::testing
