#include "models/detector.h"

#include <gtest/gtest.h>

#include <set>

#include "nn/detection_task.h"
#include "nn/evaluator.h"
#include "ops/op_list.h"
#include "tests/error_of.h"

namespace tessera::models {
namespace {

using tessera::testing::error_of;

nn::Detection task_of(const DetectorOptions& options) {
  return nn::Detection(options.sample, options.kinds, 4);
}

TEST(Detector, GivesWhatTheTaskCompares) {
  for (const NamedDetector& one : detectors()) {
    DetectorOptions options = one.options;
    options.sample = {3, 64, 96};
    const Detector net(options);
    const nn::Detection task = task_of(options);
    const Graph graph = nn::inference_graph(net, task);
    nn::Values outputs;
    for (const auto& [name, value] : graph.outputs()) outputs.emplace(name, value);
    task.require_outputs(outputs);
    EXPECT_EQ(outputs.at("boxes").shape()[1].value(), net.places()) << one.name;
  }
  EXPECT_NE(error_of([] { detector("yolo"); }).find("small"), std::string::npos);
  EXPECT_NE(error_of([] {
              Detector({.sample = {3, 100, 128}});
            }).find("multiples of 32"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              Detector({.widths = {16, 32}});
            }).find("2 widths and 4 parts"),
            std::string::npos);
  EXPECT_NE(error_of([] {
              Detector({.strides = {8, 32}});
            }).find("each twice the one before"),
            std::string::npos);
}

// One weight of a head for all levels, a batch-norm for each.
TEST(Detector, LevelsShareWeightsAndNotNorms) {
  const DetectorOptions options = detector("small").options;
  const Model model = nn::initial_model(Detector(options), task_of(options));
  std::set<std::string> weights, norms;
  std::int64_t numbers = 0;
  for (const Node* node : model.graph.parameters()) {
    const std::string& name = node->name();
    numbers += node->types()[0].shape.numel();
    if (name.starts_with("head.box.0.pointwise")) weights.insert(name);
    if (name.starts_with("head.box.0.norm") && name.ends_with(".weight")) norms.insert(name);
  }
  EXPECT_EQ(weights, (std::set<std::string>{"head.box.0.pointwise.weight"}));
  EXPECT_EQ(norms, (std::set<std::string>{"head.box.0.norm0.weight", "head.box.0.norm1.weight",
                                          "head.box.0.norm2.weight"}));
  EXPECT_NEAR(static_cast<double>(numbers), 1e6, 0.1e6);
  // Untrained scores are low: few places have an object.
  State state = model.state.clone();
  const Plan plan = compile(model.graph, state, {.batch = 1});
  RunContext context = plan.context();
  Tensor x(DType::f32, {1, 3, 128, 128});
  context.bind("x", x);
  context.run();
  for (const float v : context.output("scores").span<float>()) EXPECT_LT(v, 0.05f);
  // Boxes start near their priors, place by place.
  const auto boxes = context.output("boxes").span<float>(),
             priors = context.output("priors").span<float>();
  for (std::size_t p = 0; p < boxes.size() / 4; ++p) {
    for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(boxes[4 * p + k], priors[6 * p + k], 0.05);
  }
  EXPECT_NEAR(priors[6 * 33], 1.5 / 32, 1e-6);  // second row of the finest level
  EXPECT_NEAR(priors[6 * 33 + 1], 1.5 / 32, 1e-6);
  EXPECT_NEAR(priors[6 * 1024], 0.5 / 16, 1e-6);
}

}  // namespace
}  // namespace tessera::models
