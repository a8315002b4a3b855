// Modules, the trainer and the loop around it, on a small problem that is made here.
#include "nn/trainer.h"
#include "nn/classification.h"

#include <gtest/gtest.h>

#include <cmath>

#include <algorithm>
#include <map>
#include <sstream>

#include "core/rng.h"
#include "nn/fit.h"
#include "nn/norm.h"
#include "nn/progress.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/accuracy.h"
#include "tests/error_of.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

using testing::network;
using testing::Spirals;

using tessera::testing::error_of;

Trainer trainer(double dropout = 0, const std::string& kind = "sgd") {
  TrainerOptions options;
  options.batch = 32;
  options.optimizer.name = kind;
  return classifier(network(dropout), {2}, 2, options);
}

// Cross-entropy at a learnable temperature: a loss with a parameter of its own.
class Tempered final : public TaskLoss {
 public:
  Value loss(StepBuilder& step) const override {
    const Value scale = step.scope.global_param("temperature.scale", {}, Init::constant(1));
    return ops::mean(ops::cross_entropy(step.outputs.at("logits") * scale, step.field("y")));
  }
};

TEST(TaskLoss, TrainsItsOwnParameters) {
  Trainer t = trainer();
  t.set_task_loss(std::make_shared<Tempered>());
  t.reset_optimizer();
  ASSERT_TRUE(t.state().has("temperature.scale.momentum"));
  Position position;
  t.train_epoch(Spirals(200), position, constant(0.1));
  EXPECT_NE(t.state().get("temperature.scale").item(), 1);
}

TEST(Modules, ParametersAreNamedByTheirPath) {
  const Trainer t = trainer();
  std::vector<std::string> names;
  for (const auto& p : t.parameters()) names.push_back(p.name);
  EXPECT_EQ(names, (std::vector<std::string>{"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias",
                                             "fc3.weight", "fc3.bias"}));
  EXPECT_EQ(t.state().get("fc2.weight").shape(), Shape({16, 32}));
}

TEST(Modules, InitialValuesDependOnSeedAndNameOnly) {
  const Init init = Init::normal(1);
  EXPECT_TRUE(equal_bits(init({3, 4}, 1, "a"), init({3, 4}, 1, "a")));
  EXPECT_FALSE(equal_bits(init({3, 4}, 1, "a"), init({3, 4}, 1, "b")));
  EXPECT_FALSE(equal_bits(init({3, 4}, 1, "a"), init({3, 4}, 2, "a")));
  const Tensor he = Init::kaiming_uniform(std::sqrt(2.0))({50, 400}, 1, "w");
  float most = 0;
  for (const float v : he.span<float>()) most = std::max(most, std::abs(v));
  EXPECT_NEAR(most, std::sqrt(6.0 / 400), 1e-3);
}

TEST(Modules, LayersOfOneNameAreAnErrorUnlessTied) {
  const auto net = [](bool tied) {
    auto out = std::make_shared<Sequential>();
    out->add("in", Linear(2, 8)).add("fc", Linear(8, 8)).add("act", Tanh()).add("act", ReLU());
    if (tied) {
      out->add("fc", Tied(Linear(8, 8)));
    } else {
      out->add("fc", Linear(8, 8));
    }
    out->add("out", Linear(8, 2));
    return out;
  };
  EXPECT_EQ(error_of([&] { classifier(net(false), {2}, 2); }),
            "layers 2 and 5 (counted as they are called) are both named 'fc' and would share "
            "'fc.weight'; give one another name, or tie them on purpose with nn::Tied");
  Trainer t = classifier(net(true), {2}, 2);
  EXPECT_EQ(t.parameters().size(), 6u);  // of three layers
  Position position;
  EXPECT_TRUE(std::isfinite(t.train_epoch(Spirals(50), position, constant(0.1)).loss));
  // Of states too, and at any depth.
  auto norms = std::make_shared<Sequential>();
  norms->add("in", Linear(2, 8));
  norms->add("a", Sequential().add("n", BatchNorm2d(8)));
  norms->add("a", Sequential().add("n", BatchNorm2d(8))).add("out", Linear(8, 2));
  EXPECT_NE(error_of([&] { classifier(norms, {2}, 2); }).find("'a.n' and would share 'a.n.weight'"),
            std::string::npos);
}

TEST(Trainer, SaysWhatIsMissingToTrain) {
  Trainer t = trainer();
  const std::string missing =
      "no learning rate was given: set FitOptions::lr, say to nn::constant(0.01) or "
      "nn::cosine(0.1, 0.001, epochs)";
  EXPECT_EQ(error_of([&] { fit(t, Spirals(50), {.epochs = 1}); }), missing);
  Position position;
  EXPECT_EQ(error_of([&] { t.train_epoch(Spirals(50), position, nullptr); }), missing);
  TrainerOptions options;
  options.frozen = [](const std::string&) { return true; };
  Trainer frozen = classifier(network(), {2}, 2, options);
  EXPECT_EQ(error_of([&] { fit(frozen, Spirals(50), {.epochs = 1, .lr = constant(0.1)}); }),
            "nothing to train: TrainerOptions::frozen holds for every parameter");
}

TEST(Progress, TellsOfEpochsAndEvents) {
  std::ostringstream all, last;
  const Spirals data(64);
  FitOptions options{.epochs = 3, .lr = constant(0.1), .test = &data};
  options.early_stopping = {.validation = &data, .patience = 3, .every = 2};
  Progress progress(all), seldom(last, 1e6);
  Observers both;
  both.add(&progress);
  both.add(&seldom);
  options.observer = &both;
  Trainer t = trainer();
  fit(t, data, options);
  const auto count = [](const std::string& text, const std::string& part) {
    int n = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count(all.str(), "train: epoch "), 3) << all.str();
  EXPECT_EQ(count(all.str(), "test error "), 3);
  EXPECT_EQ(count(all.str(), "train: validation epoch 1, error "), 1);
  EXPECT_EQ(count(last.str(), "train: epoch "), 2) << last.str();  // the first and the last
}

// w + 1, and w times a learnable factor.
class PlusOne final : public WeightTransform {
 public:
  Value apply(Scope&, const std::string&, Value w) const override { return w + 1.0; }
};
class Times final : public WeightTransform {
 public:
  Value apply(Scope& scope, const std::string& name, Value w) const override {
    return w * scope.global_param(name + ".factor", {}, Init::constant(2));
  }
  ParameterGroup own_group() const override { return {0, 0.0}; }  // stays where it is
};

TEST(Trainer, TheTransformAddedLastIsNextToTheWeight) {
  const auto graph_of = [](bool plus_first) {
    Trainer t =
        classifier(std::make_shared<Sequential>(Sequential().add("fc", Linear(2, 2))), {2}, 2);
    const auto plus = std::make_shared<PlusOne>();
    const auto times = std::make_shared<Times>();
    if (plus_first) t.add_weight_transform(plus);
    t.add_weight_transform(times);
    if (!plus_first) t.add_weight_transform(plus);
    Position position;
    t.train_epoch(Spirals(200), position, constant(0.1));
    EXPECT_EQ(t.state().get("fc.weight.factor").item(), 2);  // its own group holds
    const StepTerms before = t.terms_set();
    EXPECT_EQ(before.transforms.size(), 2u);
    t.clear_objectives();
    EXPECT_TRUE(t.terms_set().empty());
    t.set_terms(before);
    EXPECT_EQ(t.terms_set().transforms.size(), 2u);
    return clone(t.train_graph());
  };
  // The weight is the operand of the transform that was added last.
  const auto reader = [](const Graph& graph) {
    std::vector<std::string_view> out;
    for (const Node& node : graph.nodes()) {
      for (const Value v : node.inputs()) {
        if (v && v.node->name() == "fc.weight" && out.empty()) out.push_back(node.op().name);
      }
    }
    return out;
  };
  EXPECT_EQ(reader(graph_of(true)), std::vector<std::string_view>{"mul"});
  EXPECT_EQ(reader(graph_of(false)), std::vector<std::string_view>{"add"});
}

TEST(Modules, MistakesNameTheLayer) {
  try {
    classifier(network(), {3}, 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[Linear fc1] expected x f32[n,2], got f32[batch,3]");
  }
  EXPECT_THROW(classifier(network(), {2}, 10), Error);
  EXPECT_THROW(Dropout(1.0), Error);
}

// Eight logits that count down from the class in front, so the label's rank is known.
class Ranked final : public tessera::testing::Labelled {
 public:
  Ranked() : Labelled("ranked", 8, {8}, 8) {}

 protected:
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    for (std::size_t c = 0; c < 8; ++c) x[c] = -static_cast<float>(c);
    return static_cast<std::int32_t>(at);
  }
};

TEST(Evaluator, CountsTheFirstAndTheFirstFive) {
  Graph graph(ops::standard_ops());
  graph.set_output("logits", ops::mul(graph.input("x", {DType::f32, {kBatch, 8}, {}}), 2.0));
  State state;
  const auto task = std::make_shared<Classification>(Shape{8}, 8);
  for (const std::int64_t batch : {0, 1, 3}) {
    const Evaluation result = Evaluator(clone(graph), task)(state, Ranked(), batch);
    EXPECT_EQ(result.samples, 8);
    EXPECT_EQ(result.value("correct"), 1);
    EXPECT_EQ(result.value("correct5"), 5);
    EXPECT_EQ(result.metric().name, "error");
    EXPECT_EQ(result.value(), 87.5);
  }
  // A network that gives nothing but NaN is right about nothing.
  Graph broken(ops::standard_ops());
  broken.set_output("logits", ops::sqrt(broken.input("x", {DType::f32, {kBatch, 8}, {}}) - 1.0));
  EXPECT_EQ(Evaluator(std::move(broken), task)(state, Ranked()).value("correct"), 0);
  const auto at_once = [](const Shape& sample, std::int64_t outputs) {
    Graph graph(ops::standard_ops());
    graph.set_output("logits", graph.input("given", f32({kBatch, outputs})));
    return evaluation_batch(std::vector<Field>{{"x", DType::f32, sample}, {"y", DType::s32}},
                            graph);
  };
  EXPECT_EQ(at_once({784}, 10), 1000);
  EXPECT_EQ(at_once({3, 224, 224}, 10), 16);
  EXPECT_EQ(at_once({35}, 20000), 52);  // large outputs count as well
}

TEST(Trainer, LearnsWhatALinearModelCannot) {
  for (const std::string kind : {"sgd", "adam", "adamw"}) {
    Trainer t = trainer(0, kind);
    const Spirals train(500), test(200);  // 500 is no multiple of the batch
    Position position;
    const double lr = kind == "sgd" ? 0.05 : 0.01;
    double first = 0, last = 0;
    for (int epoch = 0; epoch < 40; ++epoch) {
      const auto report = t.train_epoch(train, position, constant(lr));
      ASSERT_TRUE(report.finished);
      (epoch == 0 ? first : last) = report.loss;
    }
    EXPECT_LT(last, 0.2 * first);
    EXPECT_GT(tessera::testing::accuracy(t.evaluate(test)), 0.95);
  }
}

TEST(Trainer, DropoutIsReproducibleAndOffInEvaluation) {
  const Spirals data(200);
  Trainer a = trainer(0.5), b = trainer(0.5);
  Position pa, pb;
  const double la = a.train_epoch(data, pa, constant(0.05)).loss;
  EXPECT_EQ(la, b.train_epoch(data, pb, constant(0.05)).loss);
  EXPECT_TRUE(equal_bits(a.state(), b.state()));
  EXPECT_NE(la, trainer().train_epoch(data, *std::make_unique<Position>(), constant(0.05)).loss);
  EXPECT_EQ(a.evaluate(data).loss(), a.evaluate(data).loss());
}

TEST(Trainer, FrozenParametersStayAsTheyAre) {
  TrainerOptions options;
  options.batch = 32;
  options.frozen = [](const std::string& name) { return name.starts_with("fc1"); };
  Trainer t = classifier(network(), {2}, 2, options);
  const Tensor before = t.state().get("fc1.weight").clone(),
               moving = t.state().get("fc2.weight").clone();
  Position position;
  t.train_epoch(Spirals(100), position, constant(0.05));
  EXPECT_TRUE(equal_bits(t.state().get("fc1.weight"), before));
  EXPECT_FALSE(equal_bits(t.state().get("fc2.weight"), moving));
}

// An objective that pulls every weight matrix to 1.
class PullToOne final : public Objective {
 public:
  std::string name() const override { return "pull"; }
  std::optional<WeightTerm> term(Scope&, const std::string& name, Value w) const override {
    if (!name.ends_with(".weight")) return std::nullopt;
    return WeightTerm{0.5 * ops::sum(ops::square(w - 1.0)), w - 1.0};
  }
};

TEST(Trainer, WeightObjectivesJoinTheUpdate) {
  Trainer t = trainer();
  t.add_objective(std::make_shared<PullToOne>());
  t.set(coefficient_input("pull"), 10);
  Position position;
  for (int epoch = 0; epoch < 20; ++epoch) t.train_epoch(Spirals(200), position, constant(0.01));
  for (const float v : t.state().get("fc2.weight").span<float>()) EXPECT_NEAR(v, 1, 0.2);
  EXPECT_GT(std::abs(t.state().get("fc2.bias").span<float>()[0] - 1), 0.2);
}

TEST(Schedule, Shapes) {
  EXPECT_DOUBLE_EQ(exponential(1, 0.5)(2.9), 0.25);
  EXPECT_DOUBLE_EQ(step_decay(1, 0.1, {2, 4})(3), 0.1);
  const auto shares = step_decay_shares(0.1, 0.1, {100 / 350.0, 225 / 350.0, 300 / 350.0}, 350);
  for (const auto& [epoch, rate] : std::map<double, double>{
           {0, 0.1}, {99.99, 0.1}, {100, 1e-2}, {224.99, 1e-2}, {225, 1e-3}, {300, 1e-4}})
    EXPECT_NEAR(shares(epoch) / rate, 1, 1e-9) << epoch;
  EXPECT_DOUBLE_EQ(cosine(1, 0, 10)(5), 0.5);
  EXPECT_NEAR(with_warmup(4, constant(1))(1), 0.25, 1e-6);
}

}  // namespace
}  // namespace tessera::nn
