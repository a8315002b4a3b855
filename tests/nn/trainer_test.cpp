// Modules, the trainer and the loop around it, on a small problem that is made here.
#include "nn/trainer.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <cmath>

#include <filesystem>

#include "core/interrupt.h"
#include "core/rng.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

using testing::network;
using testing::Spirals;

Trainer trainer(double dropout = 0, OptimizerOptions::Kind kind = OptimizerOptions::Kind::sgd) {
  TrainerOptions options;
  options.batch = 32;
  options.optimizer.kind = kind;
  return Trainer(network(dropout), {2}, 2, options);
}

// Cross-entropy at a learnable temperature: a loss with a parameter of its own.
class Tempered final : public TaskLoss {
 public:
  Value loss(StepBuilder& step) const override {
    const Value scale = step.scope.global_param("temperature.scale", {}, Init::constant(1));
    return ops::mean(ops::cross_entropy(step.logits * scale, step.y));
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

TEST(Modules, MistakesNameTheLayer) {
  try {
    Trainer(network(), {3}, 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[Linear fc1] expected x f32[n,2], got f32[batch,3]");
  }
  EXPECT_THROW(Trainer(network(), {2}, 10), Error);
  EXPECT_THROW(Dropout(1.0), Error);
}

// Eight logits that count down from the class in front, so the label's rank is known.
class Ranked final : public BatchSource {
 public:
  std::string name() const override { return "ranked"; }
  std::int64_t samples() const override { return 8; }
  std::int64_t classes() const override { return 8; }
  Shape sample_shape() const override { return {8}; }
  void fill(std::int64_t, std::int64_t first, Tensor& x, Tensor& y) const override {
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      y.span<std::int32_t>()[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(first + i);
      for (std::int64_t c = 0; c < 8; ++c) {
        x.span<float>()[static_cast<std::size_t>(8 * i + c)] = static_cast<float>(-c);
      }
    }
  }
};

TEST(Evaluator, CountsTheFirstAndTheFirstFive) {
  Graph graph(ops::standard_ops());
  graph.set_output("logits", ops::mul(graph.input("x", {DType::f32, {kBatch, 8}, {}}), 2.0));
  State state;
  for (const std::int64_t batch : {0, 1, 3}) {
    const Evaluation result = Evaluator(clone(graph))(state, Ranked(), batch);
    EXPECT_EQ(result.samples, 8);
    EXPECT_EQ(result.correct, 1);
    EXPECT_EQ(result.correct5, 5);
  }
  // A network that gives nothing but NaN is right about nothing.
  Graph broken(ops::standard_ops());
  broken.set_output("logits", ops::sqrt(broken.input("x", {DType::f32, {kBatch, 8}, {}}) - 1.0));
  EXPECT_EQ(Evaluator(std::move(broken))(state, Ranked()).correct, 0);
  EXPECT_EQ(evaluation_batch({784}), 1000);
  EXPECT_EQ(evaluation_batch({3, 224, 224}), 16);
}

TEST(Trainer, LearnsWhatALinearModelCannot) {
  for (const auto kind : {OptimizerOptions::Kind::sgd, OptimizerOptions::Kind::adam}) {
    Trainer t = trainer(0, kind);
    const Spirals train(500), test(200);  // 500 is no multiple of the batch
    Position position;
    const double lr = kind == OptimizerOptions::Kind::sgd ? 0.05 : 0.01;
    double first = 0, last = 0;
    for (int epoch = 0; epoch < 40; ++epoch) {
      const auto report = t.train_epoch(train, position, constant(lr));
      ASSERT_TRUE(report.finished);
      (epoch == 0 ? first : last) = report.loss;
    }
    EXPECT_LT(last, 0.2 * first);
    EXPECT_GT(t.evaluate(test).accuracy, 0.95);
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
  EXPECT_EQ(a.evaluate(data).loss, a.evaluate(data).loss);
}

TEST(Trainer, FrozenParametersStayAsTheyAre) {
  TrainerOptions options;
  options.batch = 32;
  options.frozen = [](const std::string& name) { return name.starts_with("fc1"); };
  Trainer t(network(), {2}, 2, options);
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

struct TempFile {
  std::filesystem::path path = std::filesystem::temp_directory_path() /
                               ("tessera-fit-" + std::to_string(getpid()) + ".ckpt");
  ~TempFile() { std::filesystem::remove(path); }
};

FitOptions fit_options(const std::filesystem::path& checkpoint) {
  FitOptions options;
  options.epochs = 6;
  options.lr = cosine(0.05, 0, 6);
  options.checkpoint = checkpoint;
  options.checkpoint_seconds = 0;
  options.resume = true;
  return options;
}

TEST(Fit, ResumeInTheMiddleOfAnEpochGivesTheSameBits) {
  const Spirals data(300);
  Trainer whole = trainer(0.2);
  FitOptions plain = fit_options({});
  ASSERT_TRUE(fit(whole, data, plain).finished);

  TempFile file;
  for (int part = 0;; ++part) {
    ASSERT_LT(part, 50);
    Trainer piece = trainer(0.2);
    FitOptions options = fit_options(file.path);
    // Every run is interrupted after 7 steps, wherever that is.
    struct Stop final : Observer {
      int left = 7;
      void on_step(const StepReport&) override {
        if (--left == 0) set_interrupted(true);
      }
    } stop;
    options.observer = &stop;
    const auto result = fit(piece, data, options);
    set_interrupted(false);
    if (!result.finished) continue;
    EXPECT_TRUE(equal_bits(piece.state(), whole.state()));
    break;
  }
}

TEST(Fit, ResumeUnderAnotherConfigurationIsRefused) {
  TempFile file;
  const Spirals data(100);
  Trainer a = trainer();
  FitOptions options = fit_options(file.path);
  options.epochs = 1;
  options.config = {{"lr", "0.05"}};
  fit(a, data, options);
  options.config = {{"lr", "0.1"}};
  Trainer b = trainer();
  try {
    fit(b, data, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("lr: was 0.05, now 0.1"), std::string::npos)
        << error.what();
  }
}

TEST(Schedule, Shapes) {
  EXPECT_DOUBLE_EQ(exponential(1, 0.5)(2.9), 0.25);
  EXPECT_DOUBLE_EQ(step_decay(1, 0.1, {2, 4})(3), 0.1);
  EXPECT_DOUBLE_EQ(cosine(1, 0, 10)(5), 0.5);
  EXPECT_NEAR(with_warmup(4, constant(1))(1), 0.25, 1e-6);
}

}  // namespace
}  // namespace tessera::nn
