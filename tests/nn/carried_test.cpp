// What a trainer and an evaluator do with values carried from batch to batch.
#include <gtest/gtest.h>

#include "nn/fit.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "ops/build.h"
#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;

// Streams of nothing but their numbers; without streams, the numbers of the samples.
class Ticks final : public BatchSource {
 public:
  explicit Ticks(std::int64_t lanes, std::int64_t pieces) : lanes_(lanes), pieces_(pieces) {}
  std::string name() const override { return "ticks"; }
  std::int64_t samples() const override { return std::max<std::int64_t>(lanes_, 1) * pieces_; }
  std::int64_t lanes() const override { return lanes_; }
  std::vector<Field> fields() const override { return {{"x", DType::f32}}; }
  void fill(std::int64_t, std::int64_t first, TensorMap& batch) const override {
    auto x = batch.at("x").span<float>();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::int64_t at = first + static_cast<std::int64_t>(i);
      x[i] = static_cast<float>(lanes_ > 0 ? at % lanes_ : at);
    }
  }

 private:
  std::int64_t lanes_, pieces_;
};

// Counts the batches before this one, and adds the stream's number.
class Counter final : public Network {
 public:
  Values forward(Scope& scope, const Values& inputs) const override {
    const Value before = scope.carried("count", {});
    scope.carry(before, before + 1.0);
    const Value w = scope.param("w", {}, Init::constant(1));
    return {{"count", (before + inputs.at("x") * 0.1) * w}};
  }
};

// The mean count is the loss, and what is measured.
class Counting final : public Task {
 public:
  std::string name() const override { return "counting"; }
  std::vector<Field> inputs() const override { return {{"x", DType::f32}}; }
  std::vector<Field> targets() const override { return {}; }
  void require_outputs(const Values& outputs) const override { require(outputs, "count", name()); }
  Value loss(const FieldInputs&, const Values& outputs, double) const override {
    return ops::mean(outputs.at("count"));
  }
  std::unique_ptr<Meter> meter() const override {
    class Mean final : public Meter {
     public:
      void add(const TensorMap&, const TensorMap& outputs, const std::string&) override {
        for (const float v : outputs.at("count").span<float>()) {
          sum_ += v;
          n_ += 1;
        }
      }
      std::vector<Metric> metrics() const override { return {{"loss", sum_ / n_}}; }

     private:
      double sum_ = 0, n_ = 0;
    };
    return std::make_unique<Mean>();
  }
};

Trainer counter(std::int64_t batch) {
  TrainerOptions options;
  options.batch = batch;
  return Trainer(std::make_shared<Counter>(), std::make_shared<Counting>(), options);
}

// The loss of each step of two epochs.
std::vector<double> losses(Trainer& t, const BatchSource& data) {
  std::vector<double> out;
  Position position;
  for (int epoch = 0; epoch < 2; ++epoch) {
    double before = 0;
    t.train_epoch(data, position, constant(0), [&](const StepReport& step) {
      const double sum = step.loss * static_cast<double>(step.step);
      out.push_back(sum - before);
      before = sum;
    });
  }
  return out;
}

TEST(CarriedState, StartsAtZeroInEveryEpochAndEvaluation) {
  Trainer t = counter(2);
  const Ticks data(2, 3), other(5, 4);
  const std::vector<double> seen = losses(t, data), expected = {0.05, 1.05, 2.05};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(seen[i], expected[i % 3], 1e-6) << i;
  EXPECT_EQ(t.state().get("carried.count").to_vector<float>(), (std::vector<float>{3, 3}));
  // An evaluation has streams of its own, whatever their number, and leaves training alone.
  for (int again = 0; again < 2; ++again) {
    EXPECT_NEAR(t.evaluate(data).loss(), 1.05, 1e-6);
    EXPECT_NEAR(t.evaluate(other).loss(), 1.7, 1e-6);
  }
  EXPECT_EQ(t.state().get("carried.count").to_vector<float>(), (std::vector<float>{3, 3}));
  EXPECT_FALSE(inference_model(t).state.has("carried.count"));
}

TEST(CarriedState, NeedsStreams) {
  Trainer t = counter(2);
  const std::string none =
      "the network carries 'count' from batch to batch, but the samples of ticks are no streams";
  EXPECT_EQ(error_of([&] { losses(t, Ticks(0, 4)); }), none);
  EXPECT_EQ(error_of([&] { t.evaluate(Ticks(0, 4)); }), none);
  EXPECT_EQ(error_of([&] { losses(t, Ticks(3, 4)); }),
            "batches of 2 samples on ticks, which has 3 streams: expected one piece of each");
}

// The samples that fill up a last batch are not measured.
TEST(Evaluator, MeasuresEverySampleOnce) {
  class Same final : public Network {
   public:
    Values forward(Scope&, const Values& inputs) const override {
      return {{"count", inputs.at("x") * 1.0}};
    }
  };
  const auto task = std::make_shared<Counting>();
  State state;
  for (const std::int64_t batch : {1, 2, 3, 5, 7, 100}) {
    Evaluator evaluate(inference_graph(Same(), *task), task);
    const Evaluation found = evaluate(state, Ticks(0, 7), batch);
    EXPECT_EQ(found.samples, 7);
    EXPECT_NEAR(found.loss(), 3, 1e-6) << batch;
  }
}

}  // namespace
}  // namespace tessera::nn
