// Several losses of a step: what each weighting makes of them, by the formulas by hand.
#include "nn/loss_weighting.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/autodiff.h"
#include "core/interpret.h"
#include "nn/classification.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/error_of.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

using Doubles = std::vector<double>;
using tessera::testing::error_of;
using testing::Spirals;

double value_of(const Graph& graph, const RefMap& leaves, Value v) {
  return interpret(graph, leaves, {v})[0].v[0];
}

// The total of two losses a and 2, its slopes by each, and what the states become.
struct Total {
  double value;
  Doubles slopes;
  std::map<std::string, double> shown;
  std::map<std::string, Doubles> updates;
};

Total total(const LossWeighting& options, std::map<std::string, Doubles> own = {}, double a = 0.5) {
  Graph graph(ops::standard_ops());
  Scope scope(graph, true);
  const std::vector<NamedLoss> losses = {{"a", graph.param("a", f32({}))},
                                         {"b", graph.param("b", f32({}))}};
  RefMap leaves = {{"a", {f32({}), {a}}}, {"b", {f32({}), {2}}}};
  Shown shown;
  const Value all = loss_weighting(options.name).total(scope, losses, options, shown);
  for (const auto* made : {&scope.parameters(), &scope.states()}) {
    for (const ParameterSpec& p : *made) {
      auto& at = leaves[p.name];
      at.type = p.type;
      at.v = own.contains(p.name) ? own[p.name]
                                  : Doubles(static_cast<std::size_t>(p.type.shape.numel()), 0.0);
    }
  }
  Total out{value_of(graph, leaves, all), {}, {}, {}};
  for (const Value g : grad(all, std::vector{losses[0].value, losses[1].value}))
    out.slopes.push_back(value_of(graph, leaves, g));
  for (const auto& [name, v] : shown) out.shown[name] = value_of(graph, leaves, v);
  for (const auto& [state, v] : graph.updates())
    out.updates[state.node->name()] = interpret(graph, leaves, {v})[0].v;
  return out;
}

LossWeighting named(const std::string& name, Doubles preference = {}) {
  LossWeighting out;
  out.name = name;
  out.preference = std::move(preference);
  return out;
}

TEST(LossWeighting, TheSumTakesPreferences) {
  EXPECT_NEAR(total(named("sum")).value, 2.5, 1e-12);
  const Total got = total(named("sum", {3, 0.25}));
  EXPECT_NEAR(got.value, 2, 1e-12);
  EXPECT_NEAR(got.slopes[0], 3, 1e-12);
  EXPECT_NEAR(got.slopes[1], 0.25, 1e-12);
}

TEST(LossWeighting, UncertaintyDividesByVariancesAndAddsTheirLogarithms) {
  const Total got =
      total(named("uncertainty", {1, 2}), {{"uncertainty.a", {0.3}}, {"uncertainty.b", {-0.7}}});
  EXPECT_NEAR(got.value, 0.5 * std::exp(-0.3) + 0.3 + 2 * (2 * std::exp(0.7) - 0.7), 1e-9);
  EXPECT_NEAR(got.slopes[1], 2 * std::exp(0.7), 1e-9);
  EXPECT_NEAR(got.shown.at("weight.b"), 2 * std::exp(0.7), 1e-9);
}

TEST(LossWeighting, TchebycheffIsASmoothMaximum) {
  LossWeighting options = named("tchebycheff", {2, 1});
  options.smoothness = 0.5;
  Total got = total(options);
  EXPECT_NEAR(got.value, 0.5 * std::log(std::exp(1 / 0.5) + std::exp(2 / 0.5)), 1e-9);
  const double share = 1 / (1 + std::exp(2 / 0.5 - 1 / 0.5));
  EXPECT_NEAR(got.slopes[0], 2 * share, 1e-9);
  EXPECT_NEAR(got.slopes[1], 1 - share, 1e-9);
  EXPECT_NEAR(got.shown.at("weight.a"), 2 * share, 1e-9);
  options.smoothness = 1e-3;
  EXPECT_NEAR(total(options).value, 2, 1e-9);
}

TEST(LossWeighting, FamoMovesTowardsTheLossThatFallsLeast) {
  LossWeighting options = named("famo");
  options.rate = 0.5;
  options.decay = 0.1;
  // The first step knows of none before it.
  const Total first = total(options);
  EXPECT_EQ(first.updates.at("famo.logits"), (Doubles{0, 0}));
  EXPECT_NEAR(first.updates.at("famo.logs")[1], std::log(2), 1e-9);
  EXPECT_EQ(first.updates.at("famo.seen")[0], 1);
  // z / l, scaled to a sum of 1.
  EXPECT_NEAR(first.slopes[0], (0.5 / 0.5) / (0.5 / 0.5 + 0.5 / 2), 1e-9);
  EXPECT_NEAR(first.slopes[1], (0.5 / 2) / (0.5 / 0.5 + 0.5 / 2), 1e-9);

  const Doubles xi = {0.4, -0.2}, before = {std::log(1.0), std::log(2.2)};
  const Total got =
      total(options, {{"famo.logits", xi}, {"famo.logs", before}, {"famo.seen", {1, 1}}});
  const double z0 = 1 / (1 + std::exp(xi[1] - xi[0])), z1 = 1 - z0;
  const double fell0 = before[0] - std::log(0.5), fell1 = before[1] - std::log(2);
  const double slope0 = z0 * (fell0 - (z0 * fell0 + z1 * fell1));
  const double next0 = xi[0] - 0.5 * (slope0 + 0.1 * xi[0]);
  EXPECT_NEAR(got.updates.at("famo.logits")[0], next0, 1e-9);
  EXPECT_LT(got.updates.at("famo.logits")[0], xi[0]);  // a fell more
  EXPECT_NEAR(got.slopes[0] + got.slopes[1], 1, 1e-9);
}

TEST(LossWeighting, FamoLeavesOutALossThatABatchHasNotGot) {
  const Total got = total(
      named("famo"), {{"famo.logits", {0, 0}}, {"famo.logs", {1, 1}}, {"famo.seen", {1, 1}}}, 0);
  EXPECT_EQ(got.slopes[0], 0);
  EXPECT_NEAR(got.slopes[1], 1, 1e-6);
  EXPECT_EQ(got.updates.at("famo.logs")[0], 1);
  EXPECT_NEAR(got.updates.at("famo.logs")[1], std::log(2), 1e-9);
}

// Two losses by three parameters: both reach u and v, only the first w, and neither z.
struct Joined {
  std::vector<Doubles> by;
  Doubles weights;  // of u and v for a, then for b
  std::map<std::string, double> shown;
};
const Doubles kUA = {1, 0}, kUB = {-0.5, 1}, kVA = {2, 1}, kVB = {1, 1}, kWA = {3, -4};

Joined join(const LossWeighting& options) {
  Graph graph(ops::standard_ops());
  Scope scope(graph, true);
  RefMap leaves;
  const auto leaf = [&](const char* name, const Doubles& v) {
    leaves[name] = {f32({2}), v};
    return graph.input(name, f32({2}));
  };
  const auto preference = [&](std::size_t i) {
    return options.preference.empty() ? 1.0 : options.preference[i];
  };
  const std::vector<JointGradient> gradients = {
      {"a", preference(0), {leaf("ua", kUA), leaf("va", kVA), leaf("wa", kWA), {}}},
      {"b", preference(1), {leaf("ub", kUB), leaf("vb", kVB), {}, {}}}};
  const std::vector<std::string> names = {"u", "v", "w", "z"};
  const JointGradients joined = join_gradients(scope, options, gradients, names);
  Joined out;
  for (std::size_t i = 0; i < 3; ++i)
    out.by.push_back(interpret(graph, leaves, {joined.by[i]})[0].v);
  EXPECT_FALSE(joined.by[3]);
  EXPECT_FALSE(joined.weights[1][2]);
  for (const auto& weights : joined.weights) {
    for (std::size_t i = 0; i < 2; ++i) out.weights.push_back(value_of(graph, leaves, weights[i]));
  }
  for (const auto& [name, v] : joined.shown) out.shown[name] = value_of(graph, leaves, v);
  return out;
}

double dot(const Doubles& a, const Doubles& b) {
  return a[0] * b[0] + a[1] * b[1];
}

// The shortest combination of two gradients with these products.
double share_of_first(double aa, double ab, double bb) {
  return std::clamp((bb - ab) / (aa + bb - 2 * ab), 0.0, 1.0);
}

TEST(LossWeighting, OneSolutionForAllSharedParametersOrOneForEach) {
  LossWeighting options = named("mgda");
  const double all = share_of_first(dot(kUA, kUA) + dot(kVA, kVA), dot(kUA, kUB) + dot(kVA, kVB),
                                    dot(kUB, kUB) + dot(kVB, kVB));
  Joined got = join(options);
  EXPECT_NEAR(got.weights[0], all, 1e-6);
  EXPECT_NEAR(got.weights[1], all, 1e-6);
  EXPECT_NEAR(got.weights[3], 1 - all, 1e-6);
  EXPECT_NEAR(got.shown.at("weight.a"), all, 1e-6);
  EXPECT_NEAR(got.shown.at("u.cosine.a.b"),
              dot(kUA, kUB) / std::sqrt(dot(kUA, kUA) * dot(kUB, kUB)), 1e-6);
  for (std::size_t d = 0; d < 2; ++d) {
    EXPECT_NEAR(got.by[0][d], all * kUA[d] + (1 - all) * kUB[d], 1e-6);
    EXPECT_NEAR(got.by[2][d], kWA[d], 1e-9);  // which one loss reaches
  }
  options.per_tensor = true;
  got = join(options);
  const double u = share_of_first(dot(kUA, kUA), dot(kUA, kUB), dot(kUB, kUB)),
               v = share_of_first(dot(kVA, kVA), dot(kVA, kVB), dot(kVB, kVB));
  EXPECT_NEAR(got.weights[0], u, 1e-6);
  EXPECT_NEAR(got.weights[1], v, 1e-6);
  EXPECT_NEAR(got.shown.at("v.weight.b"), 1 - v, 1e-6);
}

TEST(LossWeighting, PreferencesScaleWhatOneLossReachesAndWhatDoesNotConflict) {
  LossWeighting options = named("upgrad", {0.5, 3});
  options.per_tensor = true;
  const Joined got = join(options);
  EXPECT_NEAR(got.by[2][1], 0.5 * kWA[1], 1e-9);
  for (std::size_t d = 0; d < 2; ++d)  // kVA and kVB agree
    EXPECT_NEAR(got.by[1][d], 0.5 * kVA[d] + 3 * kVB[d], 1e-5);
}

TEST(LossWeighting, SaysWhatItCannotWeigh) {
  EXPECT_NE(error_of([] { loss_weighting("mean"); }).find("upgrad"), std::string::npos);
  Graph graph(ops::standard_ops());
  Scope scope(graph, true);
  const std::vector<JointGradient> one = {{"a", 1, {graph.input("g", f32({2}))}}};
  const std::vector<std::string> names = {"u"};
  EXPECT_EQ(error_of([&] { join_gradients(scope, named("mgda"), one, names); }),
            "mgda weighs several losses, here is one, 'a'");
  const std::vector<JointGradient> alike = {one[0], one[0]};
  EXPECT_NE(
      error_of([&] { join_gradients(scope, named("mgda"), alike, names); }).find("are named 'a'"),
      std::string::npos);
  EXPECT_NE(error_of([] { require_weighting(named("famo"), 1); }).find("here is one"),
            std::string::npos);
  EXPECT_EQ(error_of([] {
              require_weighting(named("sum", {1, 2}), 1);
            }),
            "2 preferences for 1 loss");
  EXPECT_THROW(require_weighting(named("sum", {1, 0})), Error);
  LossWeighting far = named("cagrad");
  far.c = 1;
  EXPECT_THROW(require_weighting(far), Error);
}

// Classes, and logits that are small.
class TwoLosses final : public Task {
 public:
  std::string name() const override { return "two losses"; }
  std::vector<Field> inputs() const override { return classes_.inputs(); }
  std::vector<Field> targets() const override { return classes_.targets(); }
  void require_outputs(const Values& outputs) const override { classes_.require_outputs(outputs); }
  std::unique_ptr<Meter> meter() const override { return classes_.meter(); }
  std::vector<NamedLoss> losses(const FieldInputs& fields, const Values& outputs,
                                double smoothing) const override {
    return {{"class", classes_.loss(fields, outputs, smoothing)},
            {"size", ops::mean(ops::square(outputs.at("logits")))}};
  }
  Value loss(const FieldInputs& fields, const Values& outputs, double smoothing) const override {
    const auto both = losses(fields, outputs, smoothing);
    return both[0].value + both[1].value;
  }

 private:
  Classification classes_{Shape{2}, 2};
};

Trainer two_losses(const TrainerOptions& options) {
  return Trainer(as_network(testing::network()), std::make_shared<TwoLosses>(), options);
}

// Pulls every weight towards a value.
class Towards final : public Objective {
 public:
  Towards(std::string name, double aim) : name_(std::move(name)), aim_(aim) {}
  std::string name() const override { return name_; }
  Coefficient coefficient() const override {
    Coefficient out;
    out.kind = Coefficient::Kind::joint;
    return out;
  }
  std::optional<WeightTerm> term(Scope&, const std::string& name, Value w) const override {
    if (name.find("weight") == std::string::npos) return std::nullopt;
    return WeightTerm{0.5 * ops::sum(ops::square(w - aim_)), w - aim_};
  }

 private:
  std::string name_;
  double aim_;
};

TrainerOptions plain(const LossWeighting& weighting) {
  TrainerOptions out;
  out.batch = 50;
  out.optimizer.momentum = 0;
  out.optimizer.nesterov = false;
  out.weighting = weighting;
  return out;
}

// What one step of rate 1 adds to each parameter.
std::map<std::string, Doubles> step_of(Trainer& trainer) {
  std::map<std::string, Doubles> out;
  for (const ParameterSpec& p : trainer.parameters()) {
    for (const float v : std::as_const(trainer).state().get(p.name).span<float>())
      out[p.name].push_back(-v);
  }
  Position position;
  trainer.train_epoch(Spirals(50), position, constant(1));
  for (auto& [name, values] : out) {
    const auto now = std::as_const(trainer).state().get(name).span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += now[i];
  }
  return out;
}

double length(const std::map<std::string, Doubles>& step) {
  double sum = 0;
  for (const auto& [name, values] : step) {
    for (const double v : values) sum += v * v;
  }
  return std::sqrt(sum);
}

TEST(LossWeighting, TrainersLearnUnderEachOfThem) {
  for (const LossWeightingRow& row : loss_weightings()) {
    if (row.name == "sum") continue;
    Trainer trainer = two_losses(plain(named(row.name)));
    Position position;
    double first = 0, last = 0;
    for (int epoch = 0; epoch < 12; ++epoch) {
      last = trainer.train_epoch(Spirals(400), position, constant(0.02)).loss;
      if (epoch == 0) first = last;
    }
    EXPECT_LT(last, first) << row.name;
    std::map<std::string, double> shown;
    for (const auto& [name, value] : trainer.weighting()) shown[name] = value;
    EXPECT_TRUE(shown.contains("weight.class") && shown.contains("loss.size")) << row.name;
    if (!row.by_gradients) continue;
    EXPECT_LE(std::abs(shown.at("fc1.weight.cosine.class.size")), 1.0 + 1e-5) << row.name;
  }
}

TEST(LossWeighting, GradientsAreClippedAfterTheyAreCombined) {
  TrainerOptions options = plain(named("mgda"));
  Trainer free = two_losses(options);
  const auto whole = step_of(free);
  options.optimizer.clip_norm = 0.5 * length(whole);
  Trainer clipped = two_losses(options);
  const auto half = step_of(clipped);
  EXPECT_NEAR(length(half), options.optimizer.clip_norm, 1e-4);
  for (const auto& [name, values] : whole) {
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_NEAR(half.at(name)[i], 0.5 * values[i], 1e-5);
  }
}

// Three that pull apart: what comes of them does not depend on which was named first.
TEST(LossWeighting, JointObjectivesDoNotDependOnTheirOrder) {
  const auto step = [](bool swapped, bool per_tensor) {
    LossWeighting weighting = named("mgda");
    weighting.per_tensor = per_tensor;
    Trainer trainer = classifier(testing::network(), {2}, 2, plain(weighting));
    std::vector<std::shared_ptr<const Objective>> both = {std::make_shared<Towards>("up", 0.3),
                                                          std::make_shared<Towards>("down", -0.2)};
    if (swapped) std::swap(both[0], both[1]);
    for (const auto& objective : both) trainer.add_objective(objective);
    trainer.set(coefficient_input("up"), 0.05);
    trainer.set(coefficient_input("down"), 0.08);
    const auto out = step_of(trainer);
    // c a_i, a the shares of the shortest combination, which sum to 1 with the task's.
    std::map<std::string, double> shown;
    for (const auto& [name, value] : trainer.weighting()) shown[name] = value;
    double all = 0;
    for (const TermReport& t : trainer.terms()) {
      const double c = t.objective == "up" ? 0.05 : 0.08;
      const std::string own = cat(per_tensor ? t.weight + "." : "", "weight.", t.objective);
      EXPECT_NEAR(t.coefficient, c * shown.at(own), 1e-6) << own;
      all += t.coefficient;
    }
    EXPECT_GT(all, 0);
    return out;
  };
  for (const bool per_tensor : {false, true}) {
    const auto one = step(false, per_tensor), other = step(true, per_tensor);
    for (const auto& [name, values] : one) {
      for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_NEAR(values[i], other.at(name)[i], 1e-6) << name;
    }
  }
}

// What an objective trains beside the weights hears c a, too.
TEST(LossWeighting, OwnParametersOfJointObjectivesHearWhatTheyWeigh) {
  class Follows final : public Objective {
   public:
    std::string name() const override { return "follows"; }
    Coefficient coefficient() const override {
      Coefficient out;
      out.kind = Coefficient::Kind::joint;
      return out;
    }
    std::optional<WeightTerm> term(Scope& scope, const std::string& name, Value w) const override {
      if (name != "fc1.weight") return std::nullopt;
      const Value aim = scope.global_param("aim", {}, Init::constant(0.5));
      WeightTerm out{0.5 * ops::sum(ops::square(w - aim))};
      out.own.emplace_back(aim, Value());
      return out;
    }
  };
  Trainer trainer = classifier(testing::network(), {2}, 2, plain(named("upgrad")));
  trainer.add_objective(std::make_shared<Follows>());
  trainer.set(coefficient_input("follows"), 1e-3);
  trainer.train_graph();
  double apart = 0;
  for (const float w : std::as_const(trainer).state().get("fc1.weight").span<float>())
    apart += 0.5 - w;
  step_of(trainer);
  const double coefficient = trainer.terms().front().coefficient;
  EXPECT_GT(coefficient, 0);
  EXPECT_NEAR(std::as_const(trainer).state().get("aim").item(), 0.5 - coefficient * apart, 1e-5);
}

TEST(LossWeighting, FrozenParametersHaveNoPart) {
  TrainerOptions options = plain(named("mgda"));
  options.frozen = [](const std::string& name) { return name.starts_with("fc1"); };
  Trainer trainer = two_losses(options);
  const auto step = step_of(trainer);
  for (const double v : step.at("fc1.weight")) EXPECT_EQ(v, 0);
  EXPECT_GT(length(step), 0);
  for (const auto& [name, value] : trainer.weighting())
    EXPECT_EQ(name.find("fc1"), std::string::npos) << name;
}

TEST(LossWeighting, AJointObjectiveNeedsAWeightingByGradients) {
  Trainer trainer = classifier(testing::network(), {2}, 2, plain({}));
  trainer.add_objective(std::make_shared<Towards>("up", 0.3));
  trainer.set(coefficient_input("up"), 0.1);
  EXPECT_NE(error_of([&] { trainer.train_graph(); }).find("a joint coefficient needs"),
            std::string::npos);
}

TEST(LossWeighting, OneLossAloneIsAnError) {
  Trainer trainer = classifier(testing::network(), {2}, 2, plain(named("mgda")));
  EXPECT_NE(error_of([&] { trainer.train_graph(); }).find("several losses"), std::string::npos);
}

}  // namespace
}  // namespace tessera::nn
