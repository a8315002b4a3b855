// The tessera tool as a process: what it prints, and exit code 2 with one line for bad input.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/files/model.h"
#include "core/graph_text.h"
#include "ops/load.h"
#include "tests/core/sample_models.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

struct Result {
  std::string out, error;
  int code = -1;
};

// Programs and tests are built into the same folder.
fs::path tool() {
  return fs::read_symlink("/proc/self/exe").parent_path() / "tessera";
}

class Tool : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(tool())) GTEST_SKIP() << tool() << " is not built";
  }
  Result run(const std::string& arguments) {
    const std::string errors = (folder / "stderr").string();
    FILE* pipe = ::popen(cat(tool().string(), " ", arguments, " 2> ", errors).c_str(), "r");
    Result result;
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
      result.out.append(buffer, n);
    }
    const int status = ::pclose(pipe);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    result.error = read_file(errors);
    return result;
  }
  // Exit code 2 and exactly one line on stderr; returns the line after "tessera: error: ".
  std::string refused(const std::string& arguments) {
    const Result result = run(arguments);
    EXPECT_EQ(result.code, 2) << result.error;
    EXPECT_TRUE(result.error.starts_with("tessera: error: ")) << result.error;
    EXPECT_EQ(result.error.find('\n'), result.error.size() - 1) << result.error;
    return result.error.substr(std::min<std::size_t>(16, result.error.size()));
  }
  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  testing::TempFolder folder{"tool"};
};

TEST_F(Tool, Help) {
  EXPECT_TRUE(contains(run("--help").out, "inspect"));
  EXPECT_EQ(run("--help").code, 0);
  EXPECT_EQ(run("inspect --help").code, 0);
}

TEST_F(Tool, BadUsage) {
  EXPECT_TRUE(contains(refused(""), "a command is needed"));
  EXPECT_TRUE(contains(refused("frobnicate"), "command: 'frobnicate' is unknown"));
  EXPECT_TRUE(contains(refused("inspect"), "expected one model file"));
  EXPECT_TRUE(contains(refused("inspect --colour"), "unrecognised option '--colour'"));
  EXPECT_TRUE(contains(refused("verify x.json --batch many"), "--batch"));
  EXPECT_TRUE(contains(refused("ops more"), "unexpected argument 'more'"));
}

TEST_F(Tool, InspectsAndVerifies) {
  const Model model = testing::packed_mlp({784, 300, 100, 10}, {.bits = 1}, 2);
  const std::string file = save(model, folder / "lenet").json.string();
  const std::string json = (folder / "report").string();
  const Result inspect = run("inspect " + file + " --why --batch 4 --packed-only --json " + json);
  ASSERT_EQ(inspect.code, 0) << inspect.error;
  EXPECT_TRUE(contains(inspect.out, graph_text(model.graph)));
  EXPECT_TRUE(contains(inspect.out, "whole-tensor decodes: none"));
  const Json report = parse_json(read_file(json), "report");
  EXPECT_EQ(report.at("parameters").at("bytes"), 29400 + 3750 + 125 + 24 + 1640);
  EXPECT_EQ(report.at("plan").at("decoded").size(), 0u);
  EXPECT_EQ(report.at("plan").at("batch"), 4);

  for (const char* batch : {"1", "7", "64"}) {
    const Result verify =
        run(cat("verify ", file, " --packed-only --batch ", batch, " --json ", json));
    ASSERT_EQ(verify.code, 0) << verify.error;
    const Json check = parse_json(read_file(json), "check");
    EXPECT_TRUE(check.at("good").get<bool>());
    ASSERT_EQ(check.at("layers").size(), 3u);
    EXPECT_EQ(check.at("layers")[0].at("name"), "matmul fc1.weight");
    EXPECT_LT(check.at("outputs")[0].at("max_difference").get<double>(), 1e-4);
    EXPECT_GT(check.at("outputs")[0].at("max_reference").get<double>(), 0.01);
  }
  EXPECT_TRUE(contains(refused("verify " + file + " --tolerance 0"), "differs from the reference"));
  EXPECT_TRUE(contains(refused("inspect " + file + " --batch 0"), "batch must be at least 1"));

  // A graph alone has a plan as well.
  const std::string graph = (folder / "graph.json").string();
  ASSERT_EQ(run("export " + file + " --format json --out " + graph).code, 0);
  const Result alone = run("inspect " + graph + " --batch 4");
  ASSERT_EQ(alone.code, 0) << alone.error;
  EXPECT_TRUE(contains(alone.out, "a graph without weights"));
  EXPECT_TRUE(contains(alone.out, graph_text(model.graph)));
  EXPECT_TRUE(contains(alone.out, "plan: batch 4"));
}

TEST_F(Tool, InspectsSummaryFirst) {
  Model model = testing::packed_mlp({784, 300, 100, 10}, {.bits = 1}, 2);
  model.settings["note"] = "kept";
  const std::string file = save(model, folder / "lenet").json.string();
  const Result all = run("inspect " + file + " --batch 4"), few = run("inspect --summary " + file);
  ASSERT_EQ(all.code, 0) << all.error;
  // 266,200 weights at 1 bit, a 2-entry codebook for each of three layers, 410 biases.
  for (const std::string line :
       {"  inputs      x f32[batch,784]\n", "  parameters  266610, 266200 of them coded\n",
        "  work        266200 multiply-accumulates a sample\n",
        "  bytes       34939: indices 33275, entries 24, dense 1640; f32 takes 1066440, 30.52 "
        "times "
        "as much\n",
        "  bits        1.0007 a coded weight"}) {
    EXPECT_TRUE(contains(all.out, line)) << all.out;
    EXPECT_TRUE(contains(few.out, line)) << few.out;
  }
  EXPECT_LT(all.out.find("summary\n"), all.out.find("settings\n"));
  EXPECT_LT(all.out.find("settings\n"), all.out.find("graph\n"));
  EXPECT_FALSE(contains(few.out, "graph\n"));
  const std::string json = (folder / "report").string();
  ASSERT_EQ(run("inspect --summary --batch 4 " + file + " --json " + json).code, 0);
  const Json summary = parse_json(read_file(json), "report").at("summary");
  EXPECT_EQ(summary.at("macs"), 266200);  // of one sample, whatever the batch
  EXPECT_EQ(summary.at("index_bytes"), 33275);
  EXPECT_EQ(summary.at("parameters"), 266610);
}

TEST_F(Tool, FlagsDecodes) {
  Model model{Graph(ops::standard_ops()), {}, {}};
  Rng rng(1, 1);
  const Value w = testing::packed_param(model.graph, model.state, "w", {6, 5}, {.bits = 2}, 4, rng);
  // No kernel multiplies a transposed first operand with codebook storage.
  model.graph.set_output("y", ops::matmul(model.graph.input("x", f32({6, 3})), w, true, false));
  const std::string file = save(model, folder / "decode").json.string();
  const Result inspect = run("inspect " + file);
  EXPECT_EQ(inspect.code, 0) << inspect.error;
  EXPECT_TRUE(contains(inspect.out, "  DECODED matmul")) << inspect.out;
  EXPECT_TRUE(contains(inspect.out, "120 bytes")) << inspect.out;
  EXPECT_TRUE(contains(refused("inspect --packed-only " + file), "--packed-only: matmul"));
  EXPECT_EQ(run("verify " + file).code, 0);
}

TEST_F(Tool, Exports) {
  const Model model = testing::small_model();
  const std::string file = save(model, folder / "net").json.string();
  EXPECT_EQ(run("export " + file + " --format text").out, graph_text(model.graph));
  const std::string out = (folder / "graph.json").string();
  EXPECT_EQ(run("export " + file + " --format json --batch 3 --out " + out).code, 0);
  EXPECT_TRUE(contains(read_file(out), "\"f32[3,6]\""));
  EXPECT_TRUE(contains(refused("export " + file + " --format tex"), "text, json, onnx, c"));
  EXPECT_TRUE(
      contains(refused("export " + file + " --out /no/such/folder/x.txt"), "/no/such/folder/x"));
  // The name says the form.
  const std::string named = (folder / "named.json").string(), text = (folder / "g.txt").string();
  EXPECT_EQ(run("export " + file + " --batch 3 --out " + named).code, 0);
  EXPECT_EQ(read_file(named), read_file(out));
  EXPECT_EQ(run("export " + file + " --out " + text).code, 0);
  EXPECT_EQ(read_file(text), graph_text(model.graph));
  EXPECT_TRUE(contains(refused("export " + file + " --format text --out " + named), ".txt file"));
  EXPECT_TRUE(contains(refused("export " + file + " --format json --out " + text), ".json file"));
  const std::string svg = refused("export " + file + " --out " + (folder / "g.svg").string());
  EXPECT_TRUE(contains(svg, "onnx (.onnx), c (.c) or header (.h)")) << svg;
  EXPECT_FALSE(fs::exists(folder / "g.svg"));
  // A C file of the model is a program as it stands.
  const std::string c = (folder / "net.c").string();
  ASSERT_EQ(run("export " + file + " --out " + c + " --batch 2 --name small").code, 0);
  EXPECT_TRUE(contains(refused("export " + file + " --out " + c), "--overwrite"));
  EXPECT_TRUE(contains(refused("export " + file + " --format c --name 3d"), "n3d would be one"));
  const std::vector<float> x = {1, -1, 0.5f, 2, 0, 3, -2, 1, 1, 0, 0.25f, -1};
  write_file(folder / "x", std::string(reinterpret_cast<const char*>(x.data()), 48));
  const std::string folder_name = folder.path().string();
  ASSERT_EQ(std::system(cat("cd ", folder_name,
                            " && gcc -std=c99 -O1 -Wall -Werror -DSMALL_MAIN net.c -lm -o net && "
                            "./net < x > y")
                            .c_str()),
            0);
  const std::string bytes = read_file(folder / "y");
  ASSERT_EQ(bytes.size(), 24u);
  const Tensor logits =
      compile(model, {.batch = 2}).run({{"x", Tensor::from(x, {2, 6})}}).at("logits");
  for (std::size_t i = 0; i < 6; ++i) {
    float got = 0;
    std::memcpy(&got, bytes.data() + 4 * i, 4);
    EXPECT_NEAR(got, logits.span<float>()[i], 1e-5) << i;
  }
}

TEST_F(Tool, RecodesBothWays) {
  const Model model = testing::packed_mlp({120, 60, 10}, {.bits = 3}, 5);
  const SavedModel plain = save(model, folder / "plain");
  const std::string in = plain.json.string(), coded = (folder / "coded.json").string(),
                    back = (folder / "back.json").string(), report = (folder / "report").string();
  const Result recode = run("recode " + in + " --out " + coded);
  ASSERT_EQ(recode.code, 0) << recode.error;
  EXPECT_TRUE(contains(recode.out, "indices 2925 bytes packed, 2925 in " + in)) << recode.out;
  EXPECT_TRUE(equal_bits(load(coded).state, model.state));

  const Result inspect = run("inspect " + coded + " --json " + report);
  ASSERT_EQ(inspect.code, 0) << inspect.error;
  EXPECT_TRUE(contains(inspect.out, "bytes in file")) << inspect.out;
  const Json all = parse_json(read_file(report), "report").at("parameters");
  EXPECT_EQ(all.at("entropy_coded"), true);
  EXPECT_EQ(all.at("index_bytes"), 2925);
  EXPECT_LT(all.at("file_index_bytes").get<int>(), 2925);
  // The memory figure is that of the packed planes; the file lies between it and the bound.
  const double packed = all.at("bits_per_weight"), bound = all.at("entropy_bits_per_weight"),
               file = all.at("file_bits_per_weight");
  EXPECT_GT(packed, 3);
  EXPECT_LT(file, packed);
  EXPECT_GT(file, bound);
  ASSERT_EQ(run("inspect " + in + " --json " + report).code, 0);
  const Json before = parse_json(read_file(report), "report").at("parameters");
  EXPECT_EQ(before.at("entropy_coded"), false);
  EXPECT_EQ(before.at("bits_per_weight"), all.at("bits_per_weight"));

  ASSERT_EQ(run("recode " + coded + " --plain --out " + back).code, 0);
  int found = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    const std::string file_name = entry.path().filename().string();
    if (file_name.starts_with("back-")) {
      EXPECT_EQ(read_file(entry.path()), read_file(plain.weights));
      ++found;
    }
  }
  EXPECT_EQ(found, 1);
  // In place, too.
  ASSERT_EQ(run("recode " + in + " --out " + in).code, 0);
  EXPECT_FALSE(fs::exists(plain.weights));
  EXPECT_EQ(run("verify " + in).code, 0);
  EXPECT_TRUE(contains(refused("recode " + in), "--out OUT.json is needed"));
  EXPECT_TRUE(contains(refused("recode " + in + " --out " + (folder / "x.txt").string()),
                       "expected a name that ends in .json"));
  EXPECT_FALSE(fs::exists(folder / "x.txt.json"));
  EXPECT_TRUE(
      contains(refused("recode " + in + " --plain --entropy-coded --out " + back), "exclude"));
}

TEST_F(Tool, ListsEveryOp) {
  const Result result = run("ops");
  EXPECT_EQ(result.code, 0);
  for (const OpDef* op : ops::standard_ops().all()) {
    EXPECT_TRUE(contains("\n" + result.out, cat("\n", op->name, " "))) << op->name;
  }
}

TEST_F(Tool, BadFiles) {
  EXPECT_TRUE(contains(refused("inspect " + (folder / "none.json").string()), "none.json"));
  EXPECT_TRUE(contains(refused("inspect " + folder.path().string()), folder.path().string()));
  const SavedModel saved = save(testing::small_model(), folder / "net");
  const std::string json = read_file(saved.json), weights = read_file(saved.weights);
  const std::string file = saved.json.string();
  write_file(saved.json, json.substr(0, json.size() / 2));
  EXPECT_TRUE(contains(refused("verify " + file), ": byte "));
  std::string unknown = json;
  unknown.replace(unknown.find("\"matmul\""), 8, "\"mat\\nul\"");
  write_file(saved.json, unknown);
  EXPECT_TRUE(contains(refused("inspect " + file), "unknown op 'mat\\x0aul'"));
  write_file(saved.json, json);
  write_file(saved.weights, weights.substr(0, weights.size() - 5));
  EXPECT_TRUE(contains(refused("inspect " + file), saved.weights.string()));
  fs::remove(saved.weights);
  EXPECT_TRUE(contains(refused("verify " + file), "is missing"));
}

}  // namespace
}  // namespace tessera
