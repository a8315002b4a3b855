// Modules of images against PyTorch's results, and what batch-norm does in training, in evaluation
// and in files.
#include "nn/conv.h"
#include "nn/classification.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "core/files/model.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "nn/fit.h"
#include "nn/norm.h"
#include "nn/schedule.h"
#include "ops/op_list.h"
#include "quant/pack/harden.h"
#include "tests/accuracy.h"
#include "tests/golden/golden.h"
#include "tests/labelled.h"

namespace tessera::nn {
namespace {

using testing::wave;

State wave_state(const Scope& scope) {
  State state;
  for (const auto* specs : {&scope.parameters(), &scope.states()}) {
    for (const auto& p : *specs) {
      const bool variance = p.name == "running_var";
      const double phase = p.name == "weight" ? 2 : p.name == "bias" ? 3 : variance ? 5 : 4;
      state.set(p.name, wave(p.type.shape, phase, 1, variance ? 1.5 : 0));
    }
  }
  return state;
}

void expect_near(const Tensor& actual, const Json& expected) {
  ASSERT_EQ(actual.numel(), static_cast<std::int64_t>(expected.size()));
  for (std::int64_t i = 0; i < actual.numel(); ++i) {
    EXPECT_NEAR(element(actual, i), expected[static_cast<std::size_t>(i)].get<double>(), 1e-5) << i;
  }
}

void check_layer(const std::string& name, const Module& module, const Shape& shape,
                 double scale = 1) {
  SCOPED_TRACE(name);
  Graph graph(ops::standard_ops());
  Scope scope(graph);
  graph.set_output("y", module.forward(scope, graph.input("x", {DType::f32, shape, {}})));
  const Plan plan = compile(graph, wave_state(scope), {});
  expect_near(plan.run({{"x", wave(shape, 1, scale)}}).at("y"),
              testing::golden("layers.json")[name]["y"]);
}

TEST(Images, LayersGiveWhatPyTorchGives) {
  check_layer("conv", Conv2d(2, 3, 3), {1, 2, 5, 4});
  check_layer("conv_stride_padding", Conv2d(2, 3, 3, {.stride = 2, .padding = 1}), {2, 2, 5, 4});
  check_layer("conv_rectangle",
              Conv2d(1, 2, {1, 3}, {.stride = {2, 1}, .padding = {0, 2}, .bias = false}),
              {1, 1, 4, 4});
  check_layer("conv_dilation_groups", Conv2d(4, 4, 3, {.padding = 2, .dilation = 2, .groups = 2}),
              {1, 4, 4, 4});
  check_layer("conv_depthwise", Conv2d(3, 6, 3, {.padding = 1, .groups = 3, .bias = false}),
              {1, 3, 3, 4});
  check_layer("max_pool", MaxPool2d(2), {1, 2, 5, 4});
  check_layer("max_pool_ceil", MaxPool2d(3, {.stride = 2, .ceil = true}), {1, 1, 6, 8});
  check_layer("max_pool_padding", MaxPool2d(3, {.stride = 2, .padding = 1}), {1, 1, 6, 5});
  check_layer("avg_pool_padding", AvgPool2d(3, {.stride = 2, .padding = 1}), {1, 1, 6, 5});
  check_layer("global_avg_pool", GlobalAvgPool2d(), {2, 3, 3, 5});
  check_layer("batch_norm", BatchNorm2d(3), {2, 3, 2, 2});
  check_layer("relu6", ReLU6(), {1, 1, 3, 4}, 8);
}

TEST(BatchNorm2d, TrainsAsPyTorch) {
  Graph graph(ops::standard_ops());
  Scope scope(graph, /*training=*/true);
  const Shape shape{2, 3, 2, 2};
  graph.set_output(
      "y",
      BatchNorm2d(3, {.momentum = 0.3}).forward(scope, graph.input("x", {DType::f32, shape, {}})));
  State state = wave_state(scope);
  const Plan plan = compile(graph);
  RunContext context = plan.context(state);
  const Tensor x = wave(shape, 1);
  context.bind("x", x);
  context.run();
  const Json expected = testing::golden("layers.json")["batch_norm_train"];
  expect_near(context.output("y"), expected["y"]);
  expect_near(state.get("running_mean"), expected["running_mean"]);
  expect_near(state.get("running_var"), expected["running_var"]);
}

TEST(Images, MistakesNameTheLayer) {
  const auto error_of = [](const auto& make) -> std::string {
    try {
      make();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  Graph graph(ops::standard_ops());
  Scope scope(graph);
  const Value x = graph.input("x", {DType::f32, {kBatch, 3, 8, 8}, {}});
  EXPECT_EQ(error_of([&] { scope.in("c", [&] { return Conv2d(4, 2, 3).forward(scope, x); }); }),
            "[Conv2d c] expected x f32[n,4,h,w], got f32[batch,3,8,8]");
  EXPECT_EQ(error_of([&] { scope.in("b", [&] { return BatchNorm2d(4).forward(scope, x); }); }),
            "[BatchNorm2d b] expected x f32[n,4,...], got f32[batch,3,8,8]");
  EXPECT_EQ(error_of([] { Conv2d(4, 6, 3, {.groups = 3}); }),
            "[Conv2d] groups must divide 4 inputs and 6 outputs, got 3");
  EXPECT_EQ(error_of([] { Conv2d(4, 6, {3, 0}); }), "[Conv2d] kernel must be at least 1, got 3x0");
  EXPECT_EQ(error_of([] { MaxPool2d(2, {.padding = -1}); }),
            "[MaxPool2d] padding must be at least 0, got -1x-1");
  EXPECT_EQ(error_of([] { BatchNorm2d(0); }), "[BatchNorm2d] needs at least one channel, got 0");
  Sequential narrow(Conv2d(3, 2, 1));
  EXPECT_EQ(error_of([&] { Residual(narrow).forward(scope, x); }),
            "[Residual ] the body gives f32[batch,2,8,8], the shortcut f32[batch,3,8,8]");
}

// 6x6 images with a horizontal or a vertical bar, bright or dark, in noise.
class Bars final : public tessera::testing::Labelled {
 public:
  Bars() : Labelled("bars", 240, {1, 6, 6}, 2) {}

 protected:
  std::int64_t place(std::int64_t epoch, std::int64_t i) const override {
    return epoch < 0 ? i : i * (7 + 6 * epoch) % samples();
  }
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    Rng rng(11, static_cast<std::uint64_t>(at));
    const auto label = static_cast<std::int32_t>(rng.below(2));
    const auto where = static_cast<std::size_t>(rng.below(6));
    const float colour = rng.below(2) ? 4.0f : -4.0f;
    for (std::size_t p = 0; p < 36; ++p) {
      const bool bar = (label ? p % 6 : p / 6) == where;
      x[p] = 2 + rng.normal() + (bar ? colour : 0.0f);
    }
    return label;
  }
};

Trainer trainer() {
  Sequential net;
  net.add("conv1", Conv2d(1, 6, 3, {.padding = 1, .bias = false})).add("bn1", BatchNorm2d(6));
  net.add("act1", ReLU()).add("pool1", MaxPool2d(2));
  net.add("conv2", Conv2d(6, 12, 3, {.bias = false})).add("bn2", BatchNorm2d(12));
  net.add("act2", ReLU()).add("pool", GlobalAvgPool2d()).add("fc", Linear(12, 2));
  TrainerOptions options;
  options.batch = 32;  // 240 is no multiple of it
  options.optimizer.weight_decay = 1e-3;
  return classifier(share(std::move(net)), {1, 6, 6}, 2, options);
}

TEST(BatchNorm2d, EvaluationUsesTheRunningStatistics) {
  Trainer t = trainer();
  EXPECT_EQ(t.states().size(), 4u);
  const Bars data;
  Position position;
  for (int epoch = 0; epoch < 12; ++epoch) t.train_epoch(data, position, constant(0.05));
  const Evaluation good = t.evaluate(data);
  EXPECT_GT(tessera::testing::accuracy(good), 0.95);
  EXPECT_GT(t.state().get("bn1.running_mean").span<float>()[0], -1e3f);
  // Inputs have mean 2: statistics that stayed at 0 and 1 would normalize by nothing.
  State other = t.state().clone();
  other.set("bn1.running_mean", Tensor(DType::f32, {6}));
  other.set("bn1.running_var", Tensor::full({6}, 1));
  Evaluator evaluator(inference_graph(t), t.task());
  EXPECT_GT(evaluator(other, data).loss(), 2 * good.loss());
  EXPECT_EQ(evaluator(t.state(), data).loss(), good.loss());
}

struct TempFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("tessera-bn-" + std::to_string(getpid()));
  TempFolder() { std::filesystem::create_directories(path); }
  ~TempFolder() { std::filesystem::remove_all(path); }
};

TEST(BatchNorm2d, RunningStatisticsAreInTheModelFile) {
  Trainer t = trainer();
  const Bars data;
  Position position;
  for (int epoch = 0; epoch < 3; ++epoch) t.train_epoch(data, position, constant(0.05));
  const TempFolder folder;

  Model dense = inference_model(t);
  save(dense, folder.path / "dense");
  Model back = load(folder.path / "dense.json", ops::standard_ops());
  EXPECT_TRUE(equal_bits(back.state, dense.state));
  EXPECT_EQ(Evaluator(clone(back.graph), t.task())(back.state, data).loss(),
            t.evaluate(data).loss());

  const Tensor& weight = t.state().get("conv2.weight");
  const auto codebook = quant::fit_tensor("conv2.weight", quant::CodebookSpec::adaptive(16),
                                          weight.shape(), 0, weight.span<float>());
  Model hard = quant::harden(dense.graph, t.state(), {{"conv2.weight", codebook}});
  for (const auto& p : t.states()) {
    EXPECT_TRUE(equal_bits(hard.state.get(p.name), t.state().get(p.name))) << p.name;
  }
  EXPECT_FALSE(hard.state.has("conv2.weight"));
  save(hard, folder.path / "hard");
  Model packed = load(folder.path / "hard.json", ops::standard_ops());
  EXPECT_NEAR(Evaluator(clone(packed.graph), t.task())(packed.state, data).loss(),
              t.evaluate(data).loss(), 0.05);
}

TEST(BatchNorm2d, ResumeGivesTheSameBits) {
  const Bars data;
  const TempFolder folder;
  FitOptions options;
  options.epochs = 2;
  options.lr = constant(0.05);
  Trainer whole = trainer();
  ASSERT_TRUE(fit(whole, data, options).finished);

  options.checkpoint = folder.path / "bn.ckpt";
  options.checkpoint_seconds = 0;
  options.resume = true;
  struct Stop final : Observer {
    int left = 0;
    void on_step(const StepReport&) override {
      if (--left == 0) set_interrupted(true);
    }
  } stop;
  options.observer = &stop;
  for (bool finished = false; !finished;) {
    stop.left = 5;
    Trainer piece = trainer();
    finished = fit(piece, data, options).finished;
    set_interrupted(false);
    if (finished) {
      EXPECT_TRUE(equal_bits(piece.state(), whole.state()));
    }
  }
}

}  // namespace
}  // namespace tessera::nn
