// Batch-norm folded into convolutions: the same function with fewer parameters.
#include "nn/fold.h"
#include "nn/classification.h"

#include <gtest/gtest.h>

#include <cmath>

#include "models/zoo.h"
#include "nn/conv.h"
#include "nn/norm.h"
#include "nn/trainer.h"
#include "tests/golden/golden.h"

namespace tessera::nn {
namespace {

using testing::wave;

// Parameters as they start, statistics as if it had been trained.
Model trained(const Module& network, const Shape& sample) {
  Model model = initial_model(network, sample);
  for (const Node* node : model.graph.states()) {
    const std::string& name = node->name();
    const Shape& shape = node->types()[0].shape;
    if (name.ends_with("running_var")) model.state.set(name, wave(shape, 1, 0.5, 1.5));
    if (name.ends_with("running_mean")) model.state.set(name, wave(shape, 2));
    if (shape.rank() == 1 && name.ends_with("weight")) {
      model.state.set(name, wave(shape, 3, 0.5, 1));
    }
    if (name.ends_with("bias")) model.state.set(name, wave(shape, 4, 0.5));
  }
  return model;
}

void expect_same_function(const Model& a, const Model& b, const Shape& x) {
  const Tensor input = wave(x, 0);
  const Tensor expected = compile(a).run({{"x", input}}).at("logits");
  const Tensor actual = compile(b).run({{"x", input}}).at("logits");
  double most = 0;
  for (const float v : expected.span<float>())
    most = std::max(most, static_cast<double>(std::abs(v)));
  for (std::int64_t i = 0; i < expected.numel(); ++i) {
    EXPECT_NEAR(element(actual, i), element(expected, i), 1e-4 * most);
  }
}

TEST(Fold, IsTheSameFunction) {
  for (const char* name : {"resnet20", "mobilenet_v2_cifar"}) {
    const auto built = models::build(name);
    const Model model = trained(*built.network, built.sample);
    const Model folded = fold_batch_norm(built.network, built.sample, model.state);
    for (const Node* node : folded.graph.states()) {
      EXPECT_FALSE(node->name().find("running") != std::string::npos) << node->name();
      EXPECT_TRUE(folded.state.has(node->name()));
    }
    EXPECT_EQ(folded.graph.states().size(), folded.state.size());
    expect_same_function(model, folded, {1, 3, 32, 32});
  }
}

TEST(Fold, LeavesOtherBatchNormsAlone) {
  Sequential net;
  net.add("bn0", BatchNorm2d(2)).add("conv1", Conv2d(2, 3, 3)).add("bn1", BatchNorm2d(3));
  net.add("conv2", Conv2d(3, 2, 1, {.bias = false})).add("bn2", BatchNorm2d(2));
  net.add("pool", GlobalAvgPool2d());
  const auto network = share(net);
  const Model model = trained(*network, {2, 4, 4});
  const Model folded = fold_batch_norm(network, {2, 4, 4}, model.state);
  EXPECT_TRUE(folded.state.has("bn0.running_mean"));
  EXPECT_TRUE(folded.state.has("bn1.running_mean"));  // a bias stands between
  EXPECT_FALSE(folded.state.has("bn2.running_mean"));
  EXPECT_FALSE(folded.state.has("bn2.weight"));
  expect_same_function(model, folded, {1, 2, 4, 4});

  Trainer trainer = classifier(std::make_shared<Folded>(network), {2, 4, 4}, 2);
  EXPECT_EQ(trainer.states().size(), 4u);
  set_weights(trainer, folded.state);
  EXPECT_TRUE(equal_bits(inference_model(trainer).state, folded.state));
}

TEST(Fold, RefusesAConvolutionThatIsReadTwice) {
  // conv(x) + bn(conv(x)): scaling the weight would change both.
  struct Twice final : Module {
    Value forward(Scope& scope, Value x) const override {
      const Value y =
          scope.in("conv", [&] { return Conv2d(2, 2, 1, {.bias = false}).forward(scope, x); });
      const Value z = scope.in("bn", [&] { return BatchNorm2d(2).forward(scope, y); });
      return GlobalAvgPool2d().forward(scope, y + z);
    }
  };
  const auto network = std::make_shared<Twice>();
  const Model model = trained(*network, {2, 4, 4});
  EXPECT_THROW(fold_batch_norm(network, {2, 4, 4}, model.state), Error);
}

}  // namespace
}  // namespace tessera::nn
