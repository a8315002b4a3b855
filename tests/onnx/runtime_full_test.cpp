// ONNX Runtime gives what the models give: dense ones, packed ones of every kind of codebook. It is
// npm's onnxruntime-node, whose folder $TESSERA_ONNXRUNTIME names, or that of this user's modules.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/files/atomic_file.h"
#include "onnx/export.h"
#include "onnx/import.h"
#include "ops/load.h"
#include "tests/datasets/temp_dir.h"
#include "tests/onnx/networks.h"
#include "tests/test_dir.h"

namespace tessera::onnx {
namespace {

namespace fs = std::filesystem;
constexpr double kClose = 1e-4;
constexpr std::int64_t kBatch = 2;

fs::path runtime() {
  std::vector<fs::path> places;
  if (const char* given = std::getenv("TESSERA_ONNXRUNTIME")) places.emplace_back(given);
  if (const char* home = std::getenv("HOME"))
    places.push_back(fs::path(home) / "node_modules/onnxruntime-node");
  for (const fs::path& place : places)
    if (fs::is_directory(place)) return place;
  return {};
}

// Models and their inputs in a folder, and what they give here.
class Batch {
 public:
  void add(const std::string& name, const Model& model, const ExportOptions& options = {}) {
    const fs::path folder = folder_.path();
    write_file(folder / (name + ".onnx"), export_model(model, options).bytes);
    const auto inputs = inputs_of(model.graph, kBatch);
    std::string list;
    for (const auto& [input, tensor] : inputs) {
      const std::string file = cat(name, ".", list.size(), ".in");
      write_file(folder / file, {reinterpret_cast<const char*>(tensor.data()),
                                 static_cast<std::size_t>(tensor.bytes())});
      const char* type = tensor.dtype() == DType::f32 ? "float32" : "int32";
      list += cat(list.empty() ? "" : ",", R"({"name":")", input, R"(","type":")", type,
                  R"(","dims":)", tensor.shape(), R"(,"file":")", file, R"("})");
    }
    write_file(folder / (name + ".json"), "[" + list + "]");
    // Codebooks that were fitted are no longer the model's.
    const CompileOptions batch{.batch = kBatch};
    expected_[name] =
        options.affine_bits > 0
            ? compile(import_model(folder / (name + ".onnx")).model, batch).run(inputs)
            : compile(model, batch).run(inputs);
  }

  void expect_same(const fs::path& module) const {
    const fs::path folder = folder_.path(), log = folder / "log";
    const std::string command =
        cat("node ", (tessera::testing::test_dir() / "onnx/run.js").string(), " ", module.string(),
            " ", folder.string(), " > ", log.string(), " 2>/dev/null");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
    std::map<std::string, std::map<std::string, Tensor>> got;
    std::ifstream lines(log);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string name, output, dims;
      words >> name >> output >> dims;
      ASSERT_NE(output, "error") << line;
      const Shape shape = parse_shape("[" + dims + "]");
      const std::string bytes = read_file(folder / cat(name, ".", output, ".out"));
      Tensor tensor(DType::f32, shape);
      ASSERT_EQ(static_cast<std::int64_t>(bytes.size()), tensor.bytes()) << line;
      std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(tensor.data()));
      got[name][output] = tensor;
    }
    for (const auto& [name, outputs] : expected_)
      EXPECT_LT(difference(got[name], outputs), kClose) << name;
  }

 private:
  datasets::TempDir folder_;
  std::map<std::string, std::map<std::string, Tensor>> expected_;
};

TEST(OnnxRuntime, AgreesWithDenseNetworks) {
  const fs::path module = runtime();
  std::vector<std::string> names = zoo_names(Weight::light);
  for (const std::string& name : zoo_names(Weight::heavy)) names.push_back(name);
  if (module.empty()) GTEST_SKIP() << names.size() + 3 << " networks: no onnxruntime-node";
  Batch batch;
  for (const std::string& name : names) batch.add(name, zoo_model(name));
  batch.add("lstm", language_model());
  batch.add("detector", detector_model());
  batch.add("attention", attention_model());
  batch.expect_same(module);
}

TEST(OnnxRuntime, AgreesWithPackedNetworks) {
  const fs::path module = runtime();
  const std::vector<std::string> codebooks = {
      "uniform:2",     "uniform:4",    "uniform:8",   "uniform:4@32",
      "uniform:2@row", "uniform:2@32", "nf4@64",      "adaptive:2",
      "adaptive:8",    "adaptive:200", "vector:16x2", "scaled:-3,-1,1,3@row"};
  if (module.empty()) GTEST_SKIP() << 7 * codebooks.size() - 2 << " models: no onnxruntime-node";
  Batch batch;
  for (const std::string& codebook : codebooks) {
    std::string plain = codebook;
    std::ranges::replace(plain, ':', '_');
    std::ranges::replace(plain, ',', '_');
    std::ranges::replace(plain, '@', '_');
    batch.add(cat("lenet300-", plain), packed(zoo_model("lenet300"), codebook));
    for (const int bits : {2, 4, 8})
      batch.add(cat("lenet300-", plain, "-affine", bits), packed(zoo_model("lenet300"), codebook),
                {.affine_bits = bits});
    batch.add(cat("lstm-", plain), packed(language_model(), codebook));
    if (codebook.starts_with("vector")) continue;  // rows of 25 weights
    batch.add(cat("lenet5-", plain), packed(zoo_model("lenet5"), codebook));
    batch.add(cat("detector-", plain), packed(detector_model(), codebook));
  }
  batch.expect_same(module);
}

// Saved models, $TESSERA_ONNX_MODELS with a ':' between their files.
TEST(OnnxRuntime, AgreesWithGivenModels) {
  const fs::path module = runtime();
  const char* given = std::getenv("TESSERA_ONNX_MODELS");
  if (module.empty() || given == nullptr) GTEST_SKIP() << "no onnxruntime-node, or no models";
  Batch batch;
  std::istringstream files(given);
  int number = 0;
  for (std::string file; std::getline(files, file, ':');)
    batch.add(cat("model", number++), load(file));
  batch.expect_same(module);
}

}  // namespace
}  // namespace tessera::onnx
