// Fisher information against finite differences of single losses, and what its weights buy.
#include "quant/calibrate/fisher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/compile.h"
#include "datasets/in_memory.h"
#include "nn/classification.h"
#include "nn/conv.h"
#include "nn/norm.h"
#include "nn/schedule.h"
#include "quant/method/compress.h"
#include "quant/method/fisher_compression.h"
#include "quant/method/lc.h"
#include "tests/fill_xy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::fill_xy;
using test::error_of;
using test::Noise;
using test::Scores;

nn::Trainer trained() {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, 12)).add("act", nn::Tanh()).add("fc2", nn::Linear(12, 4));
  nn::Trainer trainer = nn::classifier(net, {20}, 4, {.batch = 50});
  nn::Position position;
  for (int epoch = 0; epoch < 20; ++epoch)
    trainer.train_epoch(Scores(), position, nn::constant(0.05));
  return trainer;
}

Policy policy(int k) {
  return {{CodebookSpec::adaptive(k), 0}, {}};
}

TEST(Calibration, SamplesAreSpreadOverTheSetAndMixed) {
  const Scores data(100);
  const CalibrationSet set(data, 10), again(data, 10), all(data, 1000);
  EXPECT_EQ(set.samples(), 10);
  EXPECT_EQ(all.samples(), 100);
  EXPECT_TRUE(equal_bits(set.tensors().at("x"), again.tensors().at("x")));
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < 10; ++i) {
    Tensor x(DType::f32, {1, 20}), y(DType::s32, {1});
    fill_xy(data, -1, 10 * i, x, y);
    for (std::int64_t j = 0; j < 10; ++j) {
      Tensor own_x(DType::f32, {1, 20}), own_y(DType::s32, {1});
      fill_xy(set, 3, j, own_x, own_y);
      if (!equal_bits(x, own_x)) continue;
      EXPECT_TRUE(equal_bits(y, own_y));
      order.push_back(j);
    }
  }
  EXPECT_EQ(order.size(), 10u);  // each tenth sample, once
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  EXPECT_THROW(CalibrationSet(data, 0), Error);
  Tensor x(DType::f32, {1, 20}), y(DType::s32, {1});
  EXPECT_THROW(fill_xy(set, 0, 10, x, y), Error);
}

// A convolution with batch norm: gradients of single samples by central differences of the loss.
// 4000 times the same sample: labels come as often as the network says they do.
TEST(Calibration, LabelsAreDrawnFromTheNetwork) {
  class Same final : public tessera::testing::Labelled {
   public:
    Same() : Labelled("same", 4000, {20}, 1) {}

   protected:
    std::int32_t make(std::int64_t, std::span<float> x) const override {
      std::fill(x.begin(), x.end(), 0.05f);
      return 0;
    }
  };
  nn::Trainer trainer = trained();
  const Graph graph = nn::inference_graph(trainer);
  CalibrationSet set(Same(), 4000), again(Same(), 4000), other(Same(), 4000);
  set.draw_targets(*trainer.task(), graph, trainer.state(), 1);
  again.draw_targets(*trainer.task(), graph, trainer.state(), 1);
  other.draw_targets(*trainer.task(), graph, trainer.state(), 2);
  EXPECT_EQ(set.field("y").below, 4);
  EXPECT_TRUE(equal_bits(set.tensors().at("y"), again.tensors().at("y")));
  EXPECT_FALSE(equal_bits(set.tensors().at("y"), other.tensors().at("y")));
  const Tensor logits = compile(graph, trainer.state(), {.batch = 1})
                            .run({{"x", set.tensors().at("x").slice(0, 1)}})
                            .at("logits");
  double sum = 0;
  for (const float v : logits.span<float>()) sum += std::exp(static_cast<double>(v));
  double entropy = 0;
  for (std::int32_t c = 0; c < 4; ++c) {
    const double p =
        std::exp(static_cast<double>(logits.span<float>()[static_cast<std::size_t>(c)])) / sum;
    const auto labels = set.tensors().at("y").span<std::int32_t>();
    const double share = static_cast<double>(std::count(labels.begin(), labels.end(), c)) / 4000;
    EXPECT_NEAR(share, p, 4 * std::sqrt(p * (1 - p) / 4000) + 1e-9) << c;
    entropy -= p * std::log(p);
  }
  EXPECT_GT(entropy, 0.1);  // or the network is so sure that this says nothing
}

TEST(Fisher, IsTheMeanSquaredGradientOfSingleSamples) {
  auto net = std::make_shared<nn::Sequential>();
  nn::Conv2dOptions conv;
  conv.stride = {2, 2};
  net->add("conv", nn::Conv2d(3, 4, {3, 3}, conv)).add("bn", nn::BatchNorm2d(4));
  net->add("act", nn::Tanh()).add("flat", nn::Flatten()).add("fc", nn::Linear(4 * 4 * 3, 3));
  nn::Trainer trainer = nn::classifier(net, {3, 9, 8}, 3);
  State& state = trainer.state();
  Tensor variance = state.get("bn.running_var");
  for (float& v : variance.span<float>()) v = 1.7f;  // statistics that no batch of one has
  state.mark_updated("bn.running_var");
  const CalibrationSet samples(Noise(), 6);
  const Graph graph = nn::inference_graph(trainer);
  const Importance h =
      fisher_information(graph, *trainer.task(), state, {"conv.weight", "fc.weight"}, samples);
  ASSERT_EQ(h.at("conv.weight").size(), 4u * 3 * 9);

  nn::Evaluator evaluate(clone(graph), trainer.task());
  for (const std::string name : {"conv.weight", "fc.weight"}) {
    Tensor w = state.get(name);
    for (const std::size_t i : {std::size_t{0}, std::size_t{17}, std::size_t{101}}) {
      double expected = 0;
      for (std::int64_t s = 0; s < samples.samples(); ++s) {
        Tensor x(DType::f32, {1, 3, 9, 8}), y(DType::s32, {1});
        fill_xy(samples, -1, s, x, y);
        const datasets::InMemory one(x, y, {.classes = 3});
        const float before = w.span<float>()[i], step = 1e-2f;
        double loss[2];
        for (const int side : {0, 1}) {
          w.span<float>()[i] = before + (side ? step : -step);
          state.mark_updated(name);
          loss[side] = evaluate(state, one).loss();
        }
        w.span<float>()[i] = before;
        state.mark_updated(name);
        const double g = (loss[1] - loss[0]) / (2 * step);
        expected += g * g / static_cast<double>(samples.samples());
      }
      EXPECT_NEAR(h.at(name)[i], expected, 1e-2 * expected + 1e-7) << name << " " << i;
    }
  }
}

TEST(Fisher, EntriesGoWhereTheLossFeelsThem) {
  nn::Trainer t = trained();
  // Half of the hidden units lead nowhere, and their weights are far out.
  Tensor in = t.state().get("fc1.weight"), out = t.state().get("fc2.weight");
  Rng rng(8, 8);
  for (std::size_t unit = 0; unit < 6; ++unit) {
    for (std::size_t i = 0; i < 20; ++i) in.span<float>()[unit * 20 + i] = rng.uniform(-9, 9);
    for (std::size_t c = 0; c < 4; ++c) out.span<float>()[c * 12 + unit] = 0;
  }
  t.state().mark_updated("fc1.weight");
  t.state().mark_updated("fc2.weight");
  const Scores data;
  const Graph graph = nn::inference_graph(t);
  const auto plan = plan_compression(t.parameters(), t.state(), policy(3));
  const PostTraining dc = direct_compression();
  const PostTraining fisher = fisher_compression(600);
  const auto plain = compress(t, data, plan, dc), weighted = compress(t, data, plan, fisher);
  ASSERT_TRUE(weighted.finished);
  const Importance h = fisher_information(graph, *t.task(), t.state(), {"fc1.weight", "fc2.weight"},
                                          CalibrationSet(data, 600));
  for (const auto& [name, importance] : h) {
    const auto error = [&](const Codebooks& codebooks) {
      const auto w = t.state().get(name).span<float>();
      std::vector<float> q(w.size());
      codebooks.at(name).decode(q);
      double sum = 0;
      for (std::size_t i = 0; i < w.size(); ++i) sum += importance[i] * std::pow(w[i] - q[i], 2.0);
      return sum;
    };
    EXPECT_LT(error(weighted.codebooks), error(plain.codebooks)) << name;
  }
  for (std::size_t i = 0; i < 120; ++i) EXPECT_EQ(h.at("fc1.weight")[i], 0);
  EXPECT_GE(weighted.c_steps[0].distance, plain.c_steps[0].distance);  // nothing beats plain there
  nn::Evaluator evaluate(nn::inference_graph(t), t.task());
  State a = decoded_state(t.state(), plain.codebooks),
        b = decoded_state(t.state(), weighted.codebooks);
  EXPECT_LT(evaluate(b, data).loss(), 0.8 * evaluate(a, data).loss());
}

TEST(Fisher, ConstantsTiesNegativesAndFewValues) {
  nn::Trainer t = trained();
  const Scores data;
  const auto codebook_of = [&](const std::function<float(std::size_t)>& value) {
    Tensor w = t.state().get("fc2.weight");
    for (std::size_t i = 0; i < w.span<float>().size(); ++i) w.span<float>()[i] = value(i);
    t.state().mark_updated("fc2.weight");
    const PostTraining fisher = fisher_compression(50);
    const auto plan = plan_compression(t.parameters(), t.state(), policy(8));
    const auto result = compress(t, data, plan, fisher);
    std::vector<float> q(48);
    result.codebooks.at("fc2.weight").decode(q);
    return q;
  };
  for (const float v : codebook_of([](std::size_t) { return -0.25f; })) EXPECT_EQ(v, -0.25f);
  // Fewer values than entries, some tied, all negative: each is kept.
  const auto few = codebook_of([](std::size_t i) { return -1.0f - static_cast<float>(i % 5); });
  for (std::size_t i = 0; i < few.size(); ++i) EXPECT_EQ(few[i], -1.0f - static_cast<float>(i % 5));
}

TEST(Fisher, RefusesWhatCannotWork) {
  nn::Trainer t = trained();
  const Scores data;
  const Graph graph = nn::inference_graph(t);
  EXPECT_EQ(
      error_of([&] { fisher_information(graph, *t.task(), t.state(), {"fc9.weight"}, data); }),
      "Fisher information: the network does not use 'fc9.weight'");
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  const PostTraining uncalibrated = fisher_compression(8);
  EXPECT_EQ(error_of([&] { compressed(t, plan, uncalibrated); }),
            "fisher needs samples to look at");
  Tensor bias = t.state().get("fc2.bias");
  bias.span<float>()[1] = std::nanf("");
  t.state().mark_updated("fc2.bias");
  const PostTraining fisher = fisher_compression(8);
  EXPECT_NE(error_of([&] { compress(t, data, plan, fisher); }).find("the gradient of 'fc1.weight'"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::quant
