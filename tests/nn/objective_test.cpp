// The multi-objective pass: coefficients and combined gradients against the formulas by hand.
#include "nn/objective.h"
#include "nn/classification.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/interpret.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

constexpr std::int64_t kSize = 4;
using Doubles = std::vector<double>;
using testing::Spirals;

// R = 1/2 |w - 1|^2 on every weight.
class Pull final : public Objective {
 public:
  // size: what stands for the gradient's norm; 0: the norm itself.
  explicit Pull(Coefficient how, double size = 0) : how_(how), size_(size) {}
  std::string name() const override { return "pull"; }
  Coefficient coefficient() const override { return how_; }
  std::optional<WeightTerm> term(Scope&, const std::string&, Value w) const override {
    WeightTerm out{0.5 * ops::sum(ops::square(w - 1.0)), w - 1.0};
    if (size_ > 0) out.size = w.graph().constant(size_);
    return out;
  }

 private:
  Coefficient how_;
  double size_;
};

double norm(const Doubles& v) {
  double sum = 0;
  for (const double x : v) sum += x * x;
  return std::sqrt(sum);
}

// Two weights whose task gradients are given; what the pass makes of them.
struct Combined {
  std::vector<Doubles> gradients;
  Doubles lambda;
  std::map<std::string, double> updates;
};

const std::vector<Doubles> kWeights = {{0, 0.5, 2, 1}, {3, -1, 1, 0.25}};
const std::vector<Doubles> kTask = {{1, -2, 0.5, 0}, {0.1, 0.2, -0.3, 0.4}};

Combined combine(Coefficient how, double c, std::map<std::string, double> states = {},
                 double size = 0) {
  Graph graph(ops::standard_ops());
  Scope scope(graph, true);
  const TensorType type = f32({kSize});
  std::vector<ParameterSpec> specs;
  std::vector<Value> weights, gradients;
  RefMap leaves = {{"pull.coefficient", {f32({}), {c}}}, {"pull.constant", {f32({}), {0}}}};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string name = "w" + std::to_string(i);
    specs.push_back({name, type, Init::constant(0)});
    weights.push_back(graph.param(name, type));
    gradients.push_back(graph.input("g" + std::to_string(i), type));
    leaves[name] = {type, kWeights[i]};
    leaves["g" + std::to_string(i)] = {type, kTask[i]};
  }
  std::vector<OwnGradient> own;
  const auto terms =
      ObjectivePass(scope, {std::make_shared<Pull>(how, size)}, specs, weights).add(gradients, own);
  for (const Node* node : graph.states()) {
    if (leaves.contains(node->name())) continue;
    const auto at = states.find(node->name());
    leaves[node->name()] = {node->types()[0], {at == states.end() ? 0 : at->second}};
  }
  Combined out;
  for (const RefTensor& g : interpret(graph, leaves, gradients)) out.gradients.push_back(g.v);
  for (const auto& t : terms)
    out.lambda.push_back(interpret(graph, leaves, {t.coefficient})[0].v[0]);
  for (const auto& [state, value] : graph.updates())
    out.updates[state.node->name()] = interpret(graph, leaves, {value})[0].v[0];
  return out;
}

Doubles pull(std::size_t i) {
  Doubles out;
  for (const double w : kWeights[i]) out.push_back(w - 1);
  return out;
}

void expect_sum(const Combined& got, const Doubles& lambda) {
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_NEAR(got.lambda[i], lambda[i], 1e-9) << i;
    for (std::size_t j = 0; j < kSize; ++j)
      EXPECT_NEAR(got.gradients[i][j], kTask[i][j] + lambda[i] * pull(i)[j], 1e-9) << i << j;
  }
}

TEST(Objective, ScheduledCoefficientScalesTheGradient) {
  expect_sum(combine({}, 0.3), {0.3, 0.3});
}

TEST(Objective, DynamicCoefficientBalancesTheNorms) {
  Coefficient how;
  how.kind = Coefficient::Kind::dynamic;
  how.average = 0;
  how.lagged = false;
  const Doubles ratio = {norm(kTask[0]) / norm(pull(0)), norm(kTask[1]) / norm(pull(1))};
  expect_sum(combine(how, 0.5), {0.5 * ratio[0], 0.5 * ratio[1]});
  how.most = 0.2;
  expect_sum(combine(how, 0.5), {0.2, std::min(0.2, 0.5 * ratio[1])});
  how.most = 1e30;
  how.from_first = true;
  expect_sum(combine(how, 0.5), {0.5 * ratio[0], 0.5 * ratio[0]});
  how.powers_of_ten = true;
  const double ten = std::pow(
      10, std::nearbyint(std::log10(norm(kTask[0]))) - std::nearbyint(std::log10(norm(pull(0)))));
  expect_sum(combine(how, 0.5), {0.5 * ten, 0.5 * ten});
}

TEST(Objective, ATermMaySayWhatStandsForItsNorm) {
  Coefficient how;
  how.kind = Coefficient::Kind::dynamic;
  how.average = 0;
  how.lagged = false;
  expect_sum(combine(how, 0.5, {}, 8), {0.5 * norm(kTask[0]) / 8, 0.5 * norm(kTask[1]) / 8});
}

TEST(Objective, LaggedCoefficientUsesTheAveragesOfTheStepBefore) {
  Coefficient how;
  how.kind = Coefficient::Kind::dynamic;
  how.average = 0.75;
  // The task's norm is not known in the first step.
  Combined first = combine(how, 2);
  expect_sum(first, {0, 0});
  EXPECT_NEAR(first.updates.at("w0.pull.task_norm"), norm(kTask[0]), 1e-12);
  EXPECT_NEAR(first.updates.at("w1.pull.norm"), norm(pull(1)), 1e-12);
  const Combined next = combine(how, 2,
                                {{"w0.pull.task_norm", 3},
                                 {"w0.pull.norm", 4},
                                 {"w1.pull.task_norm", 5},
                                 {"w1.pull.norm", 1}});
  expect_sum(next, {2 * 0.75, 2 * 5 / norm(pull(1))});  // the larger norm counts
  EXPECT_NEAR(next.updates.at("w0.pull.task_norm"), 0.75 * 3 + 0.25 * norm(kTask[0]), 1e-12);
}

// R = 1/2 |w - m|^2 with a trained aim m.
class Aim final : public Objective {
 public:
  explicit Aim(bool automatic) : automatic_(automatic) {}
  std::string name() const override { return "aim"; }
  ParameterGroup own_group() const override { return {0.5, 0.25}; }
  std::optional<WeightTerm> term(Scope& scope, const std::string& name, Value w) const override {
    const Value m = scope.global_param(name + ".aim", {}, Init::constant(0)), apart = w - m;
    WeightTerm out{0.5 * ops::sum(ops::square(apart))};
    if (!automatic_) out.gradient = apart;
    out.own.emplace_back(m, automatic_ ? Value() : -ops::sum(apart));
    out.own_scale = 0.125;
    return out;
  }

 private:
  bool automatic_;
};

// A second objective before it, which is scheduled, changes nothing of what it compares with.
TEST(Objective, DynamicCoefficientsDoNotHearOtherObjectives) {
  Coefficient how;
  how.kind = Coefficient::Kind::dynamic;
  how.average = 0;
  how.lagged = false;
  Graph graph(ops::standard_ops());
  Scope scope(graph, true);
  const TensorType type = f32({kSize});
  std::vector<Value> gradients = {graph.input("g", type)};
  std::vector<OwnGradient> own;
  const auto terms =
      ObjectivePass(scope, {std::make_shared<Aim>(true), std::make_shared<Pull>(how)},
                    {{"w", type, Init::constant(0)}}, {graph.param("w", type)})
          .add(gradients, own);
  ASSERT_EQ(terms.size(), 2u);
  RefMap leaves = {{"w", {type, kWeights[0]}},
                   {"g", {type, kTask[0]}},
                   {"w.aim", {f32({}), {5}}},
                   {"aim.coefficient", {f32({}), {3}}},
                   {"pull.coefficient", {f32({}), {0.5}}},
                   {"pull.constant", {f32({}), {0}}},
                   {"w.pull.task_norm", {f32({}), {0}}},
                   {"w.pull.norm", {f32({}), {0}}}};
  EXPECT_NEAR(interpret(graph, leaves, {terms[1].coefficient})[0].v[0],
              0.5 * norm(kTask[0]) / norm(pull(0)), 1e-9);
}

TEST(Objective, AugmentedLagrangianKeepsAMultiplierThatIsNeverNegative) {
  Coefficient how;
  how.kind = Coefficient::Kind::augmented;
  how.bound = 1;
  double value[2] = {};
  for (std::size_t i = 0; i < 2; ++i) value[i] = 0.5 * norm(pull(i)) * norm(pull(i));
  const double c = 0.1;
  const Combined got = combine(how, c, {{"w0.pull.multiplier", 0.4}, {"w1.pull.multiplier", -0.0}});
  const Doubles lambda = {std::max(0.0, 0.4 + c * (value[0] - 1)),
                          std::max(0.0, c * (value[1] - 1))};
  expect_sum(got, lambda);
  EXPECT_NEAR(got.updates.at("w0.pull.multiplier"), lambda[0], 1e-12);
  // Off, and the multiplier stays.
  const Combined off = combine(how, 0, {{"w0.pull.multiplier", 0.4}, {"w1.pull.multiplier", 0.1}});
  expect_sum(off, {0, 0});
  EXPECT_NEAR(off.updates.at("w0.pull.multiplier"), 0.4, 1e-12);
  how.bound = 1e6;  // far from binding
  expect_sum(combine(how, c), {0, 0});
}

// d (c R) / d m times the scale, with the objective's own group; as given or by autodiff.
TEST(Objective, OwnParametersHearTheCoefficientTimesTheirGradient) {
  for (const bool automatic : {false, true}) {
    Graph graph(ops::standard_ops());
    Scope scope(graph, true);
    const TensorType type = f32({kSize});
    const std::vector<ParameterSpec> specs = {{"w", type, Init::constant(0)}};
    std::vector<Value> gradients = {graph.input("g", type)};
    std::vector<OwnGradient> own;
    ObjectivePass(scope, {std::make_shared<Aim>(automatic)}, specs, {graph.param("w", type)})
        .add(gradients, own);
    ASSERT_EQ(own.size(), 1u);
    EXPECT_EQ(own[0].parameter.node->name(), "w.aim");
    EXPECT_EQ(own[0].group.lr_scale, 0.5);
    EXPECT_EQ(own[0].group.weight_decay, 0.25);
    const double c = 0.3, m = 0.4;
    const auto got = interpret(graph,
                               {{"w", {type, kWeights[0]}},
                                {"g", {type, kTask[0]}},
                                {"w.aim", {f32({}), {m}}},
                                {"aim.coefficient", {f32({}), {c}}}},
                               {gradients[0], own[0].gradient});
    double sum = 0;
    for (std::size_t j = 0; j < kSize; ++j) {
      EXPECT_NEAR(got[0].v[j], kTask[0][j] + c * (kWeights[0][j] - m), 1e-9);
      sum += kWeights[0][j] - m;
    }
    EXPECT_NEAR(got[1].v[0], -c * 0.125 * sum, 1e-9);
  }
}

TEST(Objective, TheTrainerReportsItsTerms) {
  auto net = std::make_shared<Sequential>(Linear(2, 8), Tanh(), Linear(8, 2));
  TrainerOptions options;
  options.batch = 50;
  Trainer trainer = classifier(net, {2}, 2, options);
  EXPECT_TRUE(trainer.terms().empty());
  Coefficient how;
  how.kind = Coefficient::Kind::dynamic;
  trainer.add_objective(std::make_shared<Pull>(how));
  trainer.set(coefficient_input("pull"), 0.5);
  Position position;
  trainer.train_epoch(Spirals(200), position, constant(0.01));
  const auto terms = trainer.terms();
  ASSERT_EQ(terms.size(), 4u);  // every parameter
  double value = 0;
  for (const float w : std::as_const(trainer).state().get("0.weight").span<float>())
    value += 0.5 * (w - 1.0) * (w - 1.0);
  EXPECT_EQ(terms[0].objective, "pull");
  EXPECT_EQ(terms[0].weight, "0.weight");
  EXPECT_NEAR(terms[0].value, value, 1e-4 * value);
  EXPECT_GT(terms[0].coefficient, 0);
  EXPECT_NEAR(terms[0].coefficient, 0.5 * terms[0].task_norm / terms[0].objective_norm, 1e-5);
  trainer.clear_objectives();
  EXPECT_TRUE(trainer.terms().empty());
}

}  // namespace
}  // namespace tessera::nn
