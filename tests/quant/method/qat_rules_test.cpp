// Quantizers of the forward pass and range restrictions on a handful of weights: values, gradients
// and starts by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff.h"
#include "core/interpret.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/method/compress.h"
#include "quant/method/range.h"
#include "tests/quant/qat.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::reference;
using test::Scores;
using Doubles = std::vector<double>;

const Doubles kTask = {1, -2, 0.5, 3, -1, 4};

// The quantized weight and the gradients of sum(g value) by w and by a parameter, g being kTask.
struct Pass {
  Doubles value, of_w, of_own;
};

Pass pass(const QatOptions& options, int k, const Doubles& w, const std::string& own,
          const Doubles& at, RefMap leaves = {}) {
  const auto n = static_cast<std::int64_t>(w.size());
  Graph graph(ops::standard_ops());
  nn::Scope scope(graph, true);
  const Value weight = graph.param("w", f32({1, n})), task = graph.input("g", f32({1, n}));
  const Value value =
      rule_of(options)->quantize(scope, "w", weight, {CodebookSpec::adaptive(k), 0});
  const Node* leaf = own.empty() ? nullptr : graph.find_leaf(own);
  std::vector<Value> wanted{weight};
  if (leaf) wanted.push_back(leaf->output());
  const auto gradients = grad(ops::sum(value * task), wanted);
  leaves["w"] = {f32({1, n}), w};
  leaves["g"] = {f32({1, n}), kTask};
  if (leaf) leaves[own] = {leaf->types()[0], at};
  std::vector<Value> outputs{value};
  outputs.insert(outputs.end(), gradients.begin(), gradients.end());
  const auto out = interpret(graph, leaves, outputs);
  return {out[0].v, out[1].v, leaf ? out[2].v : Doubles{}};
}

void expect_near(const Doubles& got, const Doubles& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-6) << i;
}

// s round(clip(w / s, -Qn, Qp)); the step's gradient is (round - w / s) inside and the bound
// outside, times 1 / sqrt(N Qp).
TEST(Lsq, ByHand) {
  QatOptions options;
  options.kind = "lsq";
  const double s = 0.5;
  const Doubles w = {-3, -0.6, -0.2, 0.3, 0.7, 2};
  for (const int bits : {1, 2, 3}) {
    SCOPED_TRACE(bits);
    const double negative = bits == 1 ? 1 : 1 << (bits - 1),
                 positive = bits == 1 ? 1 : negative - 1;
    const Pass got = pass(options, 1 << bits, w, "w.lsq_step", {s});
    double step = 0;
    Doubles value, of_w;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double x = w[i] / s, clipped = std::clamp(x, -negative, positive);
      const double q = bits == 1 ? (x >= 0 ? 1 : -1) : std::nearbyint(clipped);
      const bool inside = x > -negative && x < positive;
      value.push_back(s * q);
      of_w.push_back(inside ? kTask[i] : 0);
      step += kTask[i] * (inside ? q - x : q);
    }
    expect_near(got.value, value);
    expect_near(got.of_w, of_w);
    expect_near(got.of_own, {step / std::sqrt(6 * positive)});
  }
}

// 2 mean |w| / sqrt(Qp) (Esser et al., section 2.1).
TEST(Lsq, StartsAtTheStepOfTheMeanSize) {
  QatOptions options;
  options.kind = "lsq";
  for (const int bits : {1, 2, 3, 4}) {
    const int positive = bits == 1 ? 1 : (1 << (bits - 1)) - 1;
    State state;
    state.set("w", Tensor::from(std::vector<float>{-1, 2, -3, 4}, Shape{1, 4}));
    rule_of(options)->start(state, "w", {CodebookSpec::adaptive(1 << bits), 0}, {});
    EXPECT_NEAR(state.get("w.lsq_step").item(), 2 * 2.5 / std::sqrt(positive), 1e-6);
  }
}

// What the scale and the ends of the interval hear, without the gradient's own correction: each
// over sqrt(N L).
TEST(Ewgs, ItsParametersByHand) {
  QatOptions options;
  options.kind = "ewgs";
  options.ewgs_delta = 0;
  const Doubles w = {-3, -0.6, -0.2, 0.3, 0.7, 2};
  const double low = -1, high = 1.5, scale = 0.4;
  for (const int bits : {1, 2}) {
    SCOPED_TRACE(bits);
    const double last = (1 << bits) - 1, share = 1 / std::sqrt(6 * last);
    double of_scale = 0, of_low = 0, of_high = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double x = std::clamp((w[i] - low) / (high - low), 0.0, 1.0);
      of_scale += kTask[i] * (2 * std::nearbyint(x * last) / last - 1);
      if (x <= 0 || x >= 1) continue;
      of_low += kTask[i] * scale * 2 * (x - 1) / (high - low);
      of_high -= kTask[i] * scale * 2 * x / (high - low);
    }
    const RefMap leaves = {{"w.ewgs_interval", {f32({2}), {low, high}}},
                           {"w.ewgs_scale", {f32({}), {scale}}}};
    expect_near(pass(options, 1 << bits, w, "w.ewgs_scale", {scale}, leaves).of_own,
                {share * of_scale});
    expect_near(pass(options, 1 << bits, w, "w.ewgs_interval", {low, high}, leaves).of_own,
                {share * of_low, share * of_high});
  }
}

// a sign(w) where |w| > 0.7 mean |w|, a the mean of those sizes; the gradient goes straight
// through.
TEST(Ternary, TwnByHand) {
  QatOptions options;
  options.kind = "twn";
  const Doubles w = {-1, -0.3, 0.2, 0.9, 0.1, 2};  // 0.7 of the mean: 0.525
  const double a = (1 + 0.9 + 2) / 3;
  const Pass got = pass(options, 4, w, "", {});
  expect_near(got.value, {-a, 0, 0, a, 0, a});
  expect_near(got.of_w, kTask);
}

// p above 0.05 max |w|, -n below: of w the gradient is scaled by its level's size, of a level it is
// the sum over its weights by sqrt(N).
TEST(Ternary, TtqByHand) {
  QatOptions options;
  options.kind = "ttq";
  const Doubles w = {-1, -0.05, 0.08, 0.5, 0.2, 2};  // 0.05 of the largest: 0.1
  const double n = 0.7, p = 1.3;
  const Pass got = pass(options, 4, w, "w.ttq_levels", {n, p});
  expect_near(got.value, {-n, 0, 0, p, p, p});
  expect_near(got.of_w,
              {n * kTask[0], kTask[1], kTask[2], p * kTask[3], p * kTask[4], p * kTask[5]});
  const double root = std::sqrt(6.0);
  expect_near(got.of_own, {-kTask[0] / root, (kTask[3] + kTask[4] + kTask[5]) / root});
}

// Soft k-means from the centroids that the batch before left: a_ik = softmax_k(-(w_i - c_k)^2 /
// tau), c_k = sum a w / sum a, and the weights' means over the new centroids.
TEST(Dkm, ByHand) {
  QatOptions options;
  options.kind = "dkm";
  const Doubles w = {-1, -0.3, 0.2, 0.9, 0.1, 2}, start = {-0.5, 0.8};
  const double width = 0.6, temperature = 0.7, tau = temperature * width * width;
  for (const int iterations : {1, 4}) {
    options.dkm_iterations = iterations;
    Doubles c = start, value(w.size());
    const auto share = [&](double x, std::size_t k) {
      const double a = std::exp(-(x - c[0]) * (x - c[0]) / tau),
                   b = std::exp(-(x - c[1]) * (x - c[1]) / tau);
      return (k == 0 ? a : b) / (a + b);
    };
    for (int step = 0; step < iterations; ++step) {
      Doubles mass(2), moment(2);
      for (const double x : w) {
        for (std::size_t k = 0; k < 2; ++k) mass[k] += share(x, k), moment[k] += share(x, k) * x;
      }
      c = {moment[0] / mass[0], moment[1] / mass[1]};
    }
    for (std::size_t i = 0; i < w.size(); ++i)
      value[i] = share(w[i], 0) * c[0] + share(w[i], 1) * c[1];

    Graph graph(ops::standard_ops());
    nn::Scope scope(graph, true);
    const Value made = rule_of(options)->quantize(scope, "w", graph.param("w", f32({1, 6})),
                                                  {CodebookSpec::adaptive(2), 0});
    std::vector<Value> outputs{made};
    for (const auto& [state, next] : graph.updates()) {
      EXPECT_EQ(state.node->name(), "w.dkm_centroids");
      outputs.push_back(next);
    }
    ASSERT_EQ(outputs.size(), 2u);  // the next batch goes on from these centroids
    const auto out = interpret(graph,
                               {{"w", {f32({1, 6}), w}},
                                {"w.dkm_centroids", {f32({2}), start}},
                                {"w.cell_width", {f32({}), {width}}},
                                {"dkm.temperature", {f32({}), {temperature}}}},
                               outputs);
    expect_near(out[0].v, value);
    expect_near(out[1].v, c);
  }
}

// Hot at the begin, where all weights are near one mean; at the end what is trained is what is
// saved.
TEST(Dkm, CoolsDownWhileItTrains) {
  QatOptions options;
  options.kind = "dkm";
  options.schedule.epochs = 10;
  options.dkm_begin = 30;
  options.dkm_end = 1e-3;
  Qat dkm = qat_of(options);
  nn::Trainer trainer = reference(10);
  const Scores data;
  const auto plan =
      plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::adaptive(2), 0}});
  dkm.begin(trainer, plan, data);
  nn::Evaluator evaluate(nn::inference_graph(trainer), trainer.task());
  State decoded = decoded_state(trainer.state(), dkm.codebooks(trainer));
  const double saved = evaluate(decoded, data).loss();
  const State start = trainer.state().clone();
  const auto loss_at = [&](double epoch) {
    for (const auto& [name, entry] : start.entries())
      trainer.state().set(name, entry.tensor.clone());
    dkm.before_epoch(trainer, epoch);
    nn::Position position;
    return trainer.train_epoch(data, position, nn::constant(0)).loss;
  };
  EXPECT_NEAR(loss_at(10), saved, 1e-3 * saved);
  EXPECT_GT(std::fabs(loss_at(0) - saved), 0.05 * saved);
}

// The three restrictions' values, and that each but linf trains a parameter of its own.
TEST(RangeRestriction, ValuesByHand) {
  using Kind = RangeRestriction::Kind;
  const Doubles w = {-0.9, -0.1, 0.2, 0.4, 1.1, 0.3};
  const auto value = [&](Kind kind, double own) {
    Graph graph(ops::standard_ops());
    nn::Scope scope(graph, true);
    const auto term = RangeRestriction(kind).term(scope, "w", graph.param("w", f32({1, 6})));
    RefMap leaves = {{"w", {f32({1, 6}), w}}};
    EXPECT_EQ(term->own.size(), kind == Kind::linf ? 0u : 1u);
    for (const auto& [parameter, gradient] : term->own) {
      const std::string& name = parameter.node->name();
      leaves[name] = {f32({}), {name.ends_with("log_alpha") ? std::log(own) : own}};
    }
    return interpret(graph, leaves, {term->value})[0].v[0];
  };
  EXPECT_NEAR(value(Kind::linf, 0), 1.1, 1e-6);
  EXPECT_NEAR(value(Kind::margin, 0.5), 0.5 + 0.4 + 0.6, 1e-6);
  const double alpha = 3;
  double soft[2] = {}, mass[2] = {};
  for (const double x : w) {
    for (const int side : {0, 1}) {
      const double e = std::exp((side ? -alpha : alpha) * x);
      soft[side] += e * x, mass[side] += e;
    }
  }
  EXPECT_NEAR(value(Kind::softminmax, alpha),
              soft[0] / mass[0] - soft[1] / mass[1] + std::exp(-alpha), 1e-6);
}

// In training each makes the range smaller, and moves its own parameter.
TEST(RangeRestriction, TrainingNarrowsTheWeights) {
  using Kind = RangeRestriction::Kind;
  const std::string weight = "fc1.weight";
  const auto trained = [&](std::optional<Kind> kind) {
    nn::Trainer trainer = reference(10);
    if (kind) {
      trainer.add_objective(std::make_shared<RangeRestriction>(*kind));
      trainer.set(nn::coefficient_input("r2"), 0.05);
    }
    nn::Position position;
    const State before = trainer.state().clone();
    for (int i = 0; i < 5; ++i) trainer.train_epoch(Scores(), position, nn::constant(0.05));
    const auto w = std::as_const(trainer.state()).get(weight).span<float>();
    const auto [least, most] = std::minmax_element(w.begin(), w.end());
    for (const auto& [name, entry] : before.entries()) {
      if (name.starts_with(weight + ".r2_") && entry.tensor.numel() == 1 &&
          !name.ends_with(".momentum")) {
        EXPECT_NE(trainer.state().get(name).item(), entry.tensor.item()) << name;
      }
    }
    return *most - *least;
  };
  const double plain = trained(std::nullopt);
  for (const Kind kind : {Kind::linf, Kind::margin, Kind::softminmax}) {
    EXPECT_LT(trained(kind), 0.95 * plain) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace tessera::quant
