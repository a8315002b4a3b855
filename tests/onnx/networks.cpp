#include "tests/onnx/networks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/files/atomic_file.h"
#include "core/rng.h"
#include "models/detector.h"
#include "models/lstm.h"
#include "models/zoo.h"
#include "nn/detection_task.h"
#include "nn/evaluator.h"
#include "nn/language_model.h"
#include "onnx/import.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "quant/pack/harden.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::onnx {

namespace {

constexpr double kClose = 5e-5;
constexpr std::int64_t kBatch = 2;

// Biases, gains and statistics away from 0 and 1, where an operand that is left out shows.
void stir(Model& model) {
  Rng rng(7, 0);
  for (const auto& [name, entry] : model.state.entries()) {
    if (entry.tensor.dtype() != DType::f32 || entry.tensor.shape().rank() != 1) continue;
    Tensor changed = entry.tensor.clone();
    for (float& v : changed.span<float>())
      v = static_cast<float>((name.ends_with("var") ? 1 : static_cast<double>(v)) +
                             0.3 * rng.uniform());
    model.state.set(name, changed);
  }
}

}  // namespace

std::vector<std::string> zoo_names(Weight weight) {
  std::vector<std::string> out;
  for (const std::string& name : models::names()) {
    const bool heavy = name.starts_with("vgg") || name.starts_with("resnet34") ||
                       name.starts_with("resnet50") || name.starts_with("resnet56") ||
                       name.starts_with("resnet18");
    if (heavy == (weight == Weight::heavy)) out.push_back(name);
  }
  return out;
}

Model zoo_model(const std::string& name) {
  const models::ZooEntry& entry = models::entry(name);
  models::BuildOptions options;
  if (entry.sample.rank() == 3 && entry.sample[1] == Dim(224)) options.sample = Shape{3, 64, 64};
  const models::Built built = models::build(name, options);
  Model model = nn::initial_model(*built.network, built.sample);
  stir(model);
  return model;
}

Model language_model() {
  const models::LstmLanguageModel network(50, {.layers = 2, .hidden = 16, .embedding = 12});
  Model model = nn::initial_model(network, nn::LanguageModeling(7, 50));
  stir(model);
  return model;
}

Model detector_model() {
  models::DetectorOptions options = models::detector("small").options;
  options.sample = {3, 64, 64};
  Model model =
      nn::initial_model(models::Detector(options), nn::Detection(options.sample, options.kinds, 4));
  stir(model);
  return model;
}

Model attention_model() {
  Model model{Graph(ops::standard_ops()), {}, {}, {}};
  const Value x = model.graph.input("x", {DType::f32, {tessera::kBatch, 5, 6}, {}});
  const Value w = model.graph.param("w", f32({2, 5, 7}));
  Rng rng(3, 3);
  Tensor weight(DType::f32, {2, 5, 7});
  for (float& v : weight.span<float>()) v = static_cast<float>(rng.uniform(-1, 1));
  model.state.set("w", weight);
  const Value heads = ops::transpose(ops::reshape(x, {tessera::kBatch, 5, 2, 3}), {0, 2, 1, 3});
  const Value shares = ops::softmax(ops::batched_matmul(heads, heads, false, true));
  const Value seen = ops::batched_matmul(shares, heads);
  model.graph.set_output("y", ops::batched_matmul(seen, w, true));
  return model;
}

Model packed(const Model& model, const std::string& codebook) {
  const quant::CodebookSpec spec = quant::CodebookSpec::parse(codebook);
  quant::Codebooks books;
  for (const Node* leaf : model.graph.parameters()) {
    const Shape& shape = leaf->types()[0].shape;
    if (shape.rank() < 2) continue;
    const Tensor& weights = model.state.get(leaf->name());
    books.emplace(leaf->name(),
                  quant::fit_tensor(leaf->name(), spec, shape, 0, weights.span<float>()));
  }
  return quant::harden(model.graph, model.state, books);
}

std::map<std::string, Tensor> inputs_of(const Graph& graph, std::int64_t batch,
                                        std::int64_t below) {
  std::map<std::string, Tensor> out;
  Rng rng(3, 0);
  for (const Node* input : graph.inputs()) {
    Tensor tensor(input->types()[0].dtype, input->types()[0].shape.bind(batch));
    const bool real = tensor.dtype() == DType::f32;
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
      set_element(tensor, i,
                  real ? 2 * rng.uniform() - 1
                       : static_cast<double>(rng.below(static_cast<std::uint64_t>(below))));
    out.emplace(input->name(), tensor);
  }
  return out;
}

Model back(const Exported& exported, const std::string& name) {
  const datasets::TempDir folder;
  const auto file = folder.path() / (name + ".onnx");
  write_file(file, exported.bytes);
  return import_model(file).model;
}

void expect_same(const std::string& name, const Model& model, const ExportOptions& options) {
  const Exported exported = export_model(model, options);
  const Model again = back(exported, name);
  const auto inputs = inputs_of(model.graph, kBatch);
  const auto expected = compile(model, {.batch = kBatch}).run(inputs);
  const auto got = compile(again, {.batch = kBatch}).run(inputs);
  for (const auto& [output, tensor] : expected) EXPECT_TRUE(got.contains(output)) << output;
  EXPECT_LT(difference(got, expected), kClose) << name;
  // Weights are params again, statistics states: what is trained stays what it was.
  if (!options.dense && exported.weights.empty()) {
    EXPECT_EQ(again.graph.parameters().size(), model.graph.parameters().size()) << name;
    EXPECT_EQ(again.graph.states().size(), model.graph.states().size()) << name;
  }
}

double difference(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  double worst = a.size() == b.size() ? 0 : kInfinite;
  for (const auto& [name, expected] : b) {
    const auto found = a.find(name);
    if (found == a.end() || found->second.shape() != expected.shape()) return kInfinite;
    for (std::int64_t i = 0; i < expected.numel(); ++i) {
      const double x = element(found->second, i), y = element(expected, i);
      const double away = std::fabs(x - y) / (1 + std::fabs(y));
      worst = away <= worst ? worst : std::isnan(away) ? kInfinite : away;
    }
  }
  return worst;
}

}  // namespace tessera::onnx
