// The trained LeNet-300-100 of the authors of the learning-compression algorithm: imported, it must
// give the logits and the accuracy that were measured when it was stored.
#include <gtest/gtest.h>

#include "core/files/atomic_file.h"
#include "core/files/import.h"
#include "core/files/json_io.h"
#include "datasets/mnist.h"
#include "datasets/preprocess.h"
#include "tests/core/sample_models.h"
#include "tests/data_dir.h"

namespace tessera {
namespace {

// 784-300-100-10 with tanh, untrained.
Model dense_lenet() {
  Model model{Graph(ops::standard_ops()), {}, {}};
  Rng rng(1, 1);
  const std::vector<std::int64_t> widths = {784, 300, 100, 10};
  Value x = model.graph.input("x", f32({kBatch, widths[0]}));
  for (std::size_t i = 1; i < widths.size(); ++i) {
    const std::string name = cat("fc", i);
    const Value w = testing::dense_param(model.graph, model.state, name + ".weight",
                                         {widths[i], widths[i - 1]}, rng);
    const Value b =
        testing::dense_param(model.graph, model.state, name + ".bias", {widths[i]}, rng);
    x = ops::linear(x, w, b);
    if (i + 1 < widths.size()) x = ops::tanh(x);
  }
  model.graph.set_output("logits", x);
  return model;
}

TEST(ImportData, Lenet300OfTheAuthors) {
  const auto nets = testing::data_dir("nets"), mnist = testing::data_dir("mnist");
  if (!nets || !mnist) GTEST_SKIP() << "needs the real nets and mnist";
  const auto file = *nets / "lenet300_mnist.safetensors";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not here";
  Model model = dense_lenet();
  const ImportReport report = import_weights(file, model.state);
  EXPECT_TRUE(report.complete()) << report.text();
  EXPECT_EQ(report.matched.size(), 6u);

  const datasets::Split split = datasets::mnist(*mnist);
  const Tensor x = datasets::Preprocess::minus_mean(split.train).apply(split.test.images);
  const std::int64_t n = split.test.size();
  const Tensor logits = compile(model, {.batch = n}).run({{"x", x}}).at("logits");
  std::int64_t correct = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto row = logits.slice(i, i + 1).to_vector<float>();
    const auto best = std::max_element(row.begin(), row.end()) - row.begin();
    correct += best == split.test.labels.span<std::int32_t>()[static_cast<std::size_t>(i)];
  }
  const Json stored = parse_json(read_file(*nets / "expected.json"), "expected.json");
  const Json& expected = stored.at("lenet300_mnist");
  EXPECT_EQ(n, expected.at("n").get<std::int64_t>());
  EXPECT_EQ(correct, expected.at("correct").get<std::int64_t>());
  for (std::int64_t j = 0; j < 10; ++j) {
    const double wanted = expected.at("logits_first_test_image")[static_cast<std::size_t>(j)];
    EXPECT_NEAR(element(logits, j), wanted, 2e-4);
  }
}

}  // namespace
}  // namespace tessera
