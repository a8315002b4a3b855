// A task on streams, whole in this file: the token of three places before, over the seams of
// windows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "core/batch_source.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "nn/fit.h"
#include "nn/graph_network.h"
#include "nn/schedule.h"
#include "nn/task.h"
#include "nn/trainer.h"
#include "ops/build.h"
#include "ops/embedding/embedding.h"
#include "quant/calibrate/calibration.h"
#include "quant/method/compress.h"
#include "quant/method/fisher_compression.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;

constexpr std::int64_t kTokens = 7, kWindow = 4, kDelay = 3;

// Streams of random tokens side by side, cut into windows; each token is to be said again kDelay
// places later.
class Echo final : public BatchSource {
 public:
  Echo(std::int64_t lanes, std::int64_t windows) : lanes_(lanes), windows_(windows) {}
  std::string name() const override { return "echo"; }
  std::int64_t samples() const override { return lanes_ * windows_; }
  std::int64_t lanes() const override { return lanes_; }
  std::vector<Field> fields() const override {
    return {{"tokens", DType::s32, {kWindow}, kTokens}, {"echo", DType::s32, {kWindow}, kTokens}};
  }
  void fill(std::int64_t, std::int64_t first, TensorMap& batch) const override {
    const std::int64_t n = batch_size(batch, fields(), name());
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t lane = (first + i) % lanes_, window = (first + i) / lanes_;
      for (std::int64_t t = 0; t < kWindow; ++t) {
        const auto put = [&](const char* field, std::int64_t place) {
          if (!batch.contains(field)) return;
          Rng rng(35, static_cast<std::uint64_t>(1000 * lane + place));
          batch.at(field).span<std::int32_t>()[static_cast<std::size_t>(i * kWindow + t)] =
              place < 0 ? 0 : static_cast<std::int32_t>(rng.below(kTokens));
        };
        put("tokens", window * kWindow + t);
        put("echo", window * kWindow + t - kDelay);
      }
    }
  }

 private:
  std::int64_t lanes_, windows_;
};

// A recurrent layer, h' = tanh(W [x, h]); h is carried from window to window.
class RecurrentNetwork final : public Network {
 public:
  Values forward(Scope& scope, const Values& inputs) const override {
    constexpr std::int64_t kWidth = 8, kHidden = 48;
    const Value table = scope.in("embedding", [&] {
      return scope.param("weight", {kTokens, kWidth}, Init::normal(1));
    });
    const Value x = ops::embedding(table, require(inputs, "tokens", "the recurrent network"));
    const Linear cell(kWidth + kHidden, kHidden);
    const Value before = scope.in("rnn", [&] { return scope.carried("h", {kHidden}); });
    Value h = before;
    std::vector<Value> all;
    for (std::int64_t t = 0; t < kWindow; ++t) {
      const Value now = ops::reshape(ops::slice(x, 1, t, t + 1), {kBatch, kWidth});
      const auto step = [&] {
        return scope.in("rnn", [&] { return cell.forward(scope, ops::concat({now, h}, 1)); });
      };
      h = ops::tanh(t == 0 ? step() : scope.tied(step));
      all.push_back(h);
    }
    scope.carry(before, h);
    const Value rows = ops::reshape(ops::concat(all, 1), {kBatch * kWindow, kHidden});
    return {
        {"logits", scope.in("fc", [&] { return Linear(kHidden, kTokens).forward(scope, rows); })}};
  }
};

// Measures in the graph: the losses of a window's places, added up.
class EchoTask final : public Task {
 public:
  std::string name() const override { return "echo"; }
  std::vector<Field> inputs() const override {
    return {{"tokens", DType::s32, {kWindow}, kTokens}};
  }
  std::vector<Field> targets() const override { return {{"echo", DType::s32, {kWindow}, kTokens}}; }
  void require_outputs(const Values& outputs) const override { require(outputs, "logits", name()); }
  Value loss(const FieldInputs& fields, const Values& outputs, double smoothing) const override {
    plain_labels(smoothing);
    return ops::mean(losses(fields, outputs));
  }
  Values measured(const FieldInputs& fields, const Values& outputs) const override {
    return {{"loss", ops::sum(ops::reshape(losses(fields, outputs), {kBatch, kWindow}), {1})}};
  }
  std::unique_ptr<Meter> meter() const override {
    class Sum final : public Meter {
     public:
      void add(const TensorMap&, const TensorMap& outputs, const std::string&) override {
        EXPECT_FALSE(outputs.contains("logits"));
        for (const float loss : outputs.at("loss").span<float>()) loss_ += loss;
        windows_ += std::ssize(outputs.at("loss").span<float>());
      }
      std::vector<Metric> metrics() const override {
        const double loss = loss_ / static_cast<double>(windows_ * kWindow);
        return {{"perplexity", std::exp(loss)}, {"loss", loss, "", true, 4}};
      }

     private:
      double loss_ = 0;
      std::int64_t windows_ = 0;
    };
    return std::make_unique<Sum>();
  }
  Value target(const FieldInputs& fields, const Values&, double) const override {
    return ops::one_hot(places(fields), kTokens);
  }
  Value prediction(const Values& outputs) const override {
    return ops::softmax(outputs.at("logits"));
  }
  Value loss_to(const FieldInputs&, const Values& outputs, Value target) const override {
    return ops::mean(ops::soft_cross_entropy(outputs.at("logits"), target));
  }

 private:
  static Value places(const FieldInputs& fields) {
    return ops::reshape(fields("echo"), {kBatch * kWindow});
  }
  static Value losses(const FieldInputs& fields, const Values& outputs) {
    return ops::cross_entropy(outputs.at("logits"), places(fields), 0);
  }
};

Trainer echo_trainer(std::shared_ptr<const Network> network = std::make_shared<RecurrentNetwork>(),
                     std::int64_t batch = 10) {
  TrainerOptions options;
  options.batch = batch;
  options.optimizer.name = "adam";
  return Trainer(std::move(network), std::make_shared<EchoTask>(), options);
}

TEST(StreamTask, AStateIsCarriedFromBatchToBatch) {
  const Echo train(10, 40), test(3, 30), one(1, 90);
  Trainer t = echo_trainer();
  const double untrained = t.evaluate(test).value();
  fit(t, train, {.epochs = 60, .lr = cosine(0.01, 1e-4, 60)});
  // What must be said at the first three places of a window stood in the window before.
  const Evaluation dense = t.evaluate(test);
  EXPECT_GT(untrained, kTokens - 1.0);
  EXPECT_LT(dense.value(), 1.5);
  // Where streams begin has an end; evaluations do not disturb each other, nor training.
  EXPECT_EQ(t.evaluate(test).value(), dense.value());
  EXPECT_LT(t.evaluate(one).value(), 1.5);

  const auto plan = quant::plan_compression(t.parameters(), t.state(),
                                            {.weights = {quant::CodebookSpec::adaptive(8)}});
  const auto after = [&](auto& method) {
    Trainer copy = echo_trainer();
    set_weights(copy, t.state());
    const auto result = quant::compress(copy, train, plan, method);
    Model packed = quant::harden(copy, result.codebooks);
    return Evaluator(packed.graph, copy.task())(packed.state, test).value();
  };
  const quant::PostTraining dc = quant::direct_compression();
  const quant::PostTraining fisher = quant::fisher_compression(40);
  quant::MocqOptions mocq_options;
  mocq_options.schedule = {.epochs = 8, .lr = 0.003};
  mocq_options.distill.kind = quant::DistillOptions::Kind::teacher;  // which carries its own state
  quant::Mocq mocq(mocq_options);
  const double direct = after(dc);
  EXPECT_NE(after(fisher), direct);
  EXPECT_LT(after(mocq), direct);

  // What calibrates is streams as well, one after another, so that a state goes on.
  const quant::CalibrationSet some(train, 40);
  EXPECT_EQ(some.lanes(), 1);
  const auto tokens = some.tensors().at("tokens").span<std::int32_t>();
  const auto echo = some.tensors().at("echo").span<std::int32_t>();
  for (std::size_t sample = 1; sample < 40; ++sample) {
    if (sample % 4 == 0) continue;  // the next stream
    for (std::size_t i = 0; i < kDelay; ++i)
      EXPECT_EQ(echo[sample * kWindow + i], tokens[sample * kWindow + i - kDelay]) << sample;
  }

  // A network without its source: from the graph.
  Trainer again = echo_trainer(std::make_shared<GraphNetwork>(inference_model(t)));
  EXPECT_EQ(again.evaluate(test).value(), dense.value());
  fit(again, train, {.epochs = 2, .lr = constant(1e-4)});
  EXPECT_LT(again.evaluate(test).value(), 1.01 * dense.value());

  // Batches must be a piece of every stream.
  Trainer other = echo_trainer(std::make_shared<RecurrentNetwork>(), 5);
  EXPECT_EQ(error_of([&] { fit(other, train, {.epochs = 1, .lr = constant(0.01)}); }),
            "batches of 5 samples on echo, which has 10 streams: expected one piece of each");
}

// An interrupted run goes on with the state that it had.
TEST(StreamTask, ACarriedStateIsResumed) {
  const Echo train(10, 12), test(3, 30);
  const auto file = std::filesystem::path(::testing::TempDir()) / "carried.ckpt";
  std::filesystem::remove(file);
  const auto run = [&](std::int64_t stop_at, bool resume) {
    Trainer t = echo_trainer();
    class Stop final : public Observer {
     public:
      explicit Stop(std::int64_t at) : at_(at) {}
      void on_step(const StepReport& step) override {
        if (step.epoch == 1 && step.step == at_) set_interrupted(true);
      }

     private:
      std::int64_t at_;
    } stop(stop_at);
    FitOptions options{.epochs = 2, .lr = constant(0.01)};
    options.checkpoint = file;
    options.resume = resume;
    options.observer = &stop;
    fit(t, train, options);
    set_interrupted(false);
    return t.evaluate(test).loss();
  };
  const double whole = run(-1, false);
  std::filesystem::remove(file);
  run(5, false);
  EXPECT_EQ(run(-1, true), whole);
}

}  // namespace
}  // namespace tessera::nn
