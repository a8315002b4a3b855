// What a trainer was given by its user stays in force while a method compresses the network.
#include "quant/method/compress.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nn/classification.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "quant/method/distill.h"
#include "quant/method/lc.h"
#include "tests/quant/qat.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::error_of;
using test::reference;
using test::Scores;

// The focal loss of Lin et al. 2017 at gamma 2: -(1 - p)^2 log p of the label.
class Focal final : public nn::TaskLoss {
 public:
  Value loss(nn::StepBuilder& step) const override {
    ++built;
    const Value logits = step.outputs.at("logits"), y = step.field("y");
    const Value p = ops::sum(ops::softmax(logits) * ops::one_hot(y, 4), {1});
    return ops::mean(ops::square(1.0 - p) * ops::cross_entropy(logits, y));
  }
  mutable int built = 0;
};

// 1/2 |w - 3|^2 of the first layer.
class Pull final : public nn::Objective {
 public:
  std::string name() const override { return "user"; }
  std::optional<nn::WeightTerm> term(nn::Scope&, const std::string& name, Value w) const override {
    if (name != "fc1.weight") return std::nullopt;
    return nn::WeightTerm{0.5 * ops::sum(ops::square(w - 3.0)), w - 3.0};
  }
};

class Halved final : public nn::WeightTransform {
 public:
  Value apply(nn::Scope&, const std::string&, Value w) const override {
    ++built;
    return 0.5 * w;
  }
  mutable int built = 0;
};

LcOptions short_lc() {
  LcOptions options;
  options.alternation = {.steps = 2, .epochs = 1, .first_epochs = 1, .lr = 0.05, .lr_decay = 1};
  options.mu = 1e-3;
  return options;
}

double mean(const State& state, const std::string& name) {
  double sum = 0;
  for (const float w : state.get(name).span<float>()) sum += w;
  return sum / static_cast<double>(state.get(name).numel());
}

CompressionPlan two_entries(const nn::Trainer& t) {
  return plan_compression(t.parameters(), t.state(), {.weights = {CodebookSpec::adaptive(2)}});
}

TEST(Compress, KeepsTheTaskLossOfTheUser) {
  nn::Trainer t = reference();
  const auto focal = std::make_shared<Focal>();
  t.set_task_loss(focal);
  const Scores data;
  const auto trained = nn::fit(t, data, {.epochs = 1, .lr = nn::constant(0.01)});
  ASSERT_TRUE(trained.finished);
  ASSERT_GT(focal->built, 0);
  const auto run = [&](bool with_focal) {
    nn::Trainer own = reference();
    if (with_focal) own.set_task_loss(focal);
    LearningCompression lc(short_lc());
    focal->built = 0;
    const auto result = compress(own, data, two_entries(own), lc);
    EXPECT_TRUE(result.finished);
    EXPECT_EQ(focal->built > 0, with_focal);
    // The method's own penalty is gone, the user's loss is not.
    EXPECT_TRUE(own.terms_set().objectives.empty());
    EXPECT_EQ(own.terms_set().task_loss != nullptr, with_focal);
    return own.state().clone();
  };
  EXPECT_FALSE(equal_bits(run(true), run(false)));
}

TEST(Compress, KeepsObjectivesAndTransformsOfTheUser) {
  const Scores data;
  const auto run = [&](Method& method, bool with_user) {
    nn::Trainer t = reference();
    const auto halved = std::make_shared<Halved>();
    if (with_user) {
      t.set("user.coefficient", 1.0);
      t.add_objective(std::make_shared<Pull>());
      t.add_weight_transform(halved);
    }
    const CompressionPlan plan = two_entries(t);
    EXPECT_TRUE(compress(t, data, plan, method).finished);
    EXPECT_EQ(halved->built > 0, with_user);
    EXPECT_EQ(t.terms_set().objectives.size(), with_user ? 1u : 0u);
    EXPECT_EQ(t.terms_set().transforms.size(), with_user ? 1u : 0u);
    return mean(t.state(), "fc1.weight");
  };
  {
    LearningCompression with(short_lc()), without(short_lc());
    EXPECT_GT(run(with, true), run(without, false) + 0.5);
  }
  const QatOptions options{.kind = "ste", .schedule = {.epochs = 1, .lr = 0.05}};
  Qat with = qat_of(options), without = qat_of(options);  // brings a transform of its own
  EXPECT_GT(run(with, true), run(without, false) + 0.5);
}

TEST(Compress, PutsBackWhatTheUserSetWhenAMethodFails) {
  nn::Trainer t = reference();
  t.set("lc.coefficient", 1.0);
  class Other final : public nn::Objective {
   public:
    std::string name() const override { return "lc"; }  // the name of the method's own
    std::optional<nn::WeightTerm> term(nn::Scope&, const std::string&, Value w) const override {
      return nn::WeightTerm{0.5 * ops::sum(ops::square(w)), w};
    }
  };
  t.add_objective(std::make_shared<Other>());
  LearningCompression lc(short_lc());
  EXPECT_EQ(error_of([&] { compress(t, Scores(), two_entries(t), lc); }),
            "two objectives are named 'lc'");
  EXPECT_EQ(t.terms_set().objectives.size(), 1u);
}

// (1 - alpha) of the user's loss and alpha of the predictions: at alpha 0 the user's alone.
TEST(Compress, DistillationStandsBesideTheTaskLossOfTheUser) {
  const Scores data;
  const auto focal = std::make_shared<Focal>();
  const auto train = [&](bool distilled, double alpha) {
    nn::Trainer t = reference();
    t.set_task_loss(focal);
    if (distilled) {
      const Distiller distiller({DistillOptions::Kind::memory, alpha});
      distiller.prepare(t, data.samples());
      distiller.attach(t, data.samples());
      distiller.set_scalars(t, 0, 1);
    }
    nn::Position position;
    return t.train_epoch(data, position, nn::constant(0.01)).loss;
  };
  const double alone = train(false, 0);
  EXPECT_NEAR(train(true, 0), alone, 1e-5 * alone);
  EXPECT_GT(std::abs(train(true, 0.5) - alone), 1e-2 * alone);
}

TEST(Plan, FrozenWeightsStayDenseUnlessAskedFor) {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, 8)).add("act", nn::Tanh()).add("fc2", nn::Linear(8, 4));
  nn::TrainerOptions options;
  options.batch = 50;
  options.frozen = [](const std::string& name) { return name.starts_with("fc1."); };
  nn::Trainer t = nn::classifier(net, {20}, 4, options);
  Policy policy{.weights = {CodebookSpec::adaptive(2)}};
  const auto plan = [&] { return plan_compression(t.parameters(), t.state(), policy); };
  EXPECT_EQ(plan().compressed(), (std::vector<std::string>{"fc2.weight"}));
  EXPECT_NE(plan().text().find("fc1.weight      [8,20]        dense: frozen\n"), std::string::npos)
      << plan().text();
  const Tensor before = t.state().get("fc1.weight").clone();
  LearningCompression lc(short_lc());
  const auto result = compress(t, Scores(), plan(), lc);
  EXPECT_TRUE(equal_bits(t.state().get("fc1.weight"), before));
  EXPECT_EQ(result.codebooks.size(), 1u);

  policy.frozen = true;
  EXPECT_EQ(plan().compressed().size(), 2u);
  policy.frozen = false;
  policy.rules = {{"fc1.weight", TensorChoice{CodebookSpec::adaptive(4)}}};
  EXPECT_EQ(plan().compressed().size(), 2u);

  options.frozen = [](const std::string&) { return true; };
  nn::Trainer all = nn::classifier(net, {20}, 4, options);
  EXPECT_EQ(error_of([&] { plan_compression(all.parameters(), all.state(), {}); }),
            "nothing to compress: every parameter is skipped or frozen (Policy::frozen)");
}

}  // namespace
}  // namespace tessera::quant
