// Tasks that are no classification, each whole in this file: what they touch besides is nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/batch_source.h"
#include "core/rng.h"
#include "nn/conv.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "nn/task.h"
#include "nn/trainer.h"
#include "ops/build.h"
#include "ops/embedding/embedding.h"
#include "quant/calibrate/fisher.h"
#include "quant/method/compress.h"
#include "quant/method/fisher_compression.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "quant/method/qar.h"
#include "quant/plan/sensitivity.h"
#include "tests/error_of.h"

namespace tessera::nn {
namespace {

using tessera::testing::error_of;

// --- A sequence: the next token of each, by the two before it. ---

constexpr std::int64_t kLength = 12, kTokens = 7;

// Each token is the sum of the two before it modulo 7; two tokens are drawn.
class Sums final : public BatchSource {
 public:
  explicit Sums(std::int64_t samples) : samples_(samples) {}
  std::string name() const override { return "sums"; }
  std::int64_t samples() const override { return samples_; }
  std::vector<Field> fields() const override {
    return {{"tokens", DType::s32, {kLength}, kTokens},
            {"next", DType::s32, {kLength}, kTokens},
            {kIndexField, DType::s32, {}, samples_}};
  }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    const std::int64_t n = batch_size(batch, fields(), name());
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t at = epoch < 0 ? first + i : (first + i) * (7 + 2 * epoch) % samples_;
      Rng rng(31, static_cast<std::uint64_t>(at));
      std::vector<std::int32_t> tokens = {static_cast<std::int32_t>(rng.below(kTokens)),
                                          static_cast<std::int32_t>(rng.below(kTokens))};
      while (std::ssize(tokens) <= kLength)
        tokens.push_back((tokens.end()[-1] + tokens.end()[-2]) % kTokens);
      const auto copy = [&](const char* field, std::ptrdiff_t from) {
        if (!batch.contains(field)) return;
        const auto to = batch.at(field).span<std::int32_t>();
        std::copy_n(tokens.begin() + from, kLength, to.begin() + i * kLength);
      };
      copy("tokens", 0);
      copy("next", 1);
      if (batch.contains(kIndexField))
        batch.at(kIndexField).span<std::int32_t>()[static_cast<std::size_t>(i)] =
            static_cast<std::int32_t>(at);
    }
  }

 private:
  std::int64_t samples_;
};

// Embedding, then products of each place with itself and the one before: [batch * length, tokens].
class SequenceNetwork final : public Network {
 public:
  Values forward(Scope& scope, const Values& inputs) const override {
    constexpr std::int64_t kWidth = 16;
    const Value tokens = require(inputs, "tokens", "the sequence network");
    const Value table = scope.in("embedding", [&] {
      return scope.param("weight", {kTokens, kWidth}, Init::normal(1));
    });
    const Value x = ops::embedding(table, tokens);  // [batch, length, width]
    const Value zero = ops::slice(x, 1, 0, 1) * 0.0;
    const Value before = ops::concat({zero, ops::slice(x, 1, 0, kLength - 1)}, 1);
    const Value pair = ops::concat({before, x}, 2);
    const Value rows = ops::reshape(pair, {kBatch * kLength, 2 * kWidth});
    const Value hidden =
        scope.in("fc1", [&] { return Linear(2 * kWidth, 64).forward(scope, rows); });
    return {{"logits", scope.in("fc2", [&] {
               return Linear(64, kTokens).forward(scope, ops::tanh(hidden));
             })}};
  }
};

class PerplexityMeter final : public Meter {
 public:
  void add(const TensorMap& fields, const TensorMap& outputs, const std::string&) override {
    const auto logits = outputs.at("logits").span<float>();
    const auto next = fields.at("next").span<std::int32_t>();
    for (std::size_t i = 0; i < next.size(); ++i, ++tokens_) {
      const auto row = logits.subspan(i * kTokens, kTokens);
      double sum = 0;
      for (const float v : row) sum += std::exp(static_cast<double>(v));
      loss_ += std::log(sum) - row[static_cast<std::size_t>(next[i])];
    }
  }
  std::vector<Metric> metrics() const override {
    const double loss = loss_ / static_cast<double>(tokens_);
    return {{"perplexity", std::exp(loss)}, {"loss", loss, "", true, 4}};
  }

 private:
  double loss_ = 0;
  std::int64_t tokens_ = 0;
};

class NextToken final : public Task {
 public:
  std::string name() const override { return "next token"; }
  std::vector<Field> inputs() const override {
    return {{"tokens", DType::s32, {kLength}, kTokens}};
  }
  std::vector<Field> targets() const override { return {{"next", DType::s32, {kLength}, kTokens}}; }
  void require_outputs(const Values& outputs) const override { require(outputs, "logits", name()); }
  Value loss(const FieldInputs& fields, const Values& outputs, double smoothing) const override {
    const Value next = ops::reshape(fields("next"), {kBatch * kLength});
    return ops::mean(ops::cross_entropy(outputs.at("logits"), next, smoothing));
  }
  std::unique_ptr<Meter> meter() const override { return std::make_unique<PerplexityMeter>(); }
  Value target(const FieldInputs& fields, const Values&, double smoothing) const override {
    plain_labels(smoothing);
    return ops::one_hot(ops::reshape(fields("next"), {kBatch * kLength}), kTokens);
  }
  Value prediction(const Values& outputs) const override {
    return ops::softmax(outputs.at("logits"));
  }
  Value loss_to(const FieldInputs&, const Values& outputs, Value target) const override {
    return ops::mean(ops::soft_cross_entropy(outputs.at("logits"), target));
  }
};

Trainer sequence_trainer() {
  TrainerOptions options;
  options.batch = 50;
  options.optimizer.name = "adam";
  return Trainer(std::make_shared<SequenceNetwork>(), std::make_shared<NextToken>(), options);
}

TEST(ToyTasks, ASequenceIsTrainedEvaluatedAndCompressed) {
  const Sums train(400), test(120);
  Trainer t = sequence_trainer();
  EXPECT_NEAR(t.evaluate(test).value("perplexity"), kTokens, 4);  // knows nothing
  FitOptions options{.epochs = 40, .lr = cosine(0.01, 1e-4, 40)};
  options.early_stopping = {.validation = &test, .patience = 40};
  const FitResult fitted = fit(t, train, options);
  const Evaluation dense = t.evaluate(test);
  EXPECT_EQ(dense.metric().name, "perplexity");
  // The first token of each sequence but the drawn ones follows from two.
  EXPECT_LT(dense.value(), 1.4);
  EXPECT_NEAR(fitted.best, dense.value(), 1e-5);

  const auto plan = quant::plan_compression(t.parameters(), t.state(),
                                            {.weights = {quant::CodebookSpec::adaptive(4)}});
  EXPECT_EQ(plan.compressed().size(), 3u);  // the embedding, too
  const auto after = [&](auto& method) {
    Trainer copy = sequence_trainer();
    set_weights(copy, t.state());
    const auto result = quant::compress(copy, train, plan, method);
    Model packed = quant::harden(copy, result.codebooks);
    return Evaluator(clone(packed.graph), copy.task())(packed.state, test).value();
  };
  const quant::PostTraining dc = quant::direct_compression();
  const quant::PostTraining fisher = quant::fisher_compression(64);
  quant::MocqOptions mocq_options;
  mocq_options.schedule = {.epochs = 12, .lr = 0.003};
  mocq_options.distill.kind = quant::DistillOptions::Kind::teacher;
  quant::Mocq mocq(mocq_options);
  const double direct = after(dc);
  EXPECT_LT(after(fisher), 1.05 * direct);
  EXPECT_LT(after(mocq), direct);

  // One prediction a sample is what a memory keeps.
  mocq_options.distill.kind = quant::DistillOptions::Kind::memory;
  quant::Mocq remembering(mocq_options);
  EXPECT_NE(error_of([&] { after(remembering); }).find("needs one for each sample"),
            std::string::npos);
}

// --- Two outputs: where a spot is, and how bright. ---

constexpr std::int64_t kSide = 8;

class Spots final : public BatchSource {
 public:
  explicit Spots(std::int64_t samples) : samples_(samples) {}
  std::string name() const override { return "spots"; }
  std::int64_t samples() const override { return samples_; }
  std::vector<Field> fields() const override {
    return {{"image", DType::f32, {1, kSide, kSide}},
            {"place", DType::f32, {2}},
            {"bright", DType::f32, {}}};
  }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    const std::int64_t n = batch_size(batch, fields(), name());
    for (std::int64_t i = 0; i < n; ++i) {
      Rng rng(33, static_cast<std::uint64_t>((first + i) * (epoch < 0 ? 1 : 7) % samples_));
      const float x = rng.uniform(1, 7), y = rng.uniform(1, 7), light = rng.uniform(0.5f, 2);
      const auto row = [&](const char* field, std::int64_t width) {
        return batch.at(field).span<float>().subspan(static_cast<std::size_t>(i * width),
                                                     static_cast<std::size_t>(width));
      };
      if (batch.contains("image")) {
        const auto image = row("image", kSide * kSide);
        for (std::size_t p = 0; p < image.size(); ++p) {
          const float dx = static_cast<float>(p % kSide) - x,
                      dy = static_cast<float>(p / kSide) - y;
          image[p] = light * std::exp(-(dx * dx + dy * dy) / 2) + 0.02f * rng.normal();
        }
      }
      if (batch.contains("place")) {
        row("place", 2)[0] = x;
        row("place", 2)[1] = y;
      }
      if (batch.contains("bright")) row("bright", 1)[0] = light;
    }
  }

 private:
  std::int64_t samples_;
};

class SpotNetwork final : public Network {
 public:
  Values forward(Scope& scope, const Values& inputs) const override {
    const Value image = require(inputs, "image", "the spot network");
    const Value body = scope.in("body", [&] {
      Sequential net;
      net.add("conv", Conv2d(1, 8, 3, {.padding = 1})).add("act", ReLU());
      net.add("flat", Flatten()).add("fc", Linear(8 * kSide * kSide, 32)).add("act2", ReLU());
      return net.forward(scope, image);
    });
    const auto head = [&](const char* name, std::int64_t width) {
      return scope.in(name, [&] { return Linear(32, width).forward(scope, body); });
    };
    return {{"place", head("place", 2)}, {"bright", head("bright", 1)}};
  }
};

// The mean distance of the place, and the mean relative error of the brightness.
class SpotMeter final : public Meter {
 public:
  void add(const TensorMap& fields, const TensorMap& outputs, const std::string&) override {
    const auto place = fields.at("place").span<float>(), bright = fields.at("bright").span<float>();
    const auto at = outputs.at("place").span<float>(), as = outputs.at("bright").span<float>();
    for (std::size_t i = 0; i < bright.size(); ++i, ++samples_) {
      const double dx = at[2 * i] - place[2 * i], dy = at[2 * i + 1] - place[2 * i + 1];
      const double off = as[i] - bright[i];
      distance_ += std::hypot(dx, dy);
      within_ += std::hypot(dx, dy) < 0.5;
      loss_ += dx * dx + dy * dy + off * off;
    }
  }
  std::vector<Metric> metrics() const override {
    const auto n = static_cast<double>(samples_);
    return {{"found", 100 * static_cast<double>(within_) / n, "%", false, 1},
            {"distance", distance_ / n, "px"},
            {"loss", loss_ / n, "", true, 4}};
  }

 private:
  double distance_ = 0, loss_ = 0;
  std::int64_t within_ = 0, samples_ = 0;
};

class FindSpots final : public Task {
 public:
  std::string name() const override { return "spots"; }
  std::vector<Field> inputs() const override { return {{"image", DType::f32, {1, kSide, kSide}}}; }
  std::vector<Field> targets() const override {
    return {{"place", DType::f32, {2}}, {"bright", DType::f32, {}}};
  }
  void require_outputs(const Values& outputs) const override {
    require(outputs, "place", name());
    require(outputs, "bright", name());
  }
  Value loss(const FieldInputs& fields, const Values& outputs, double smoothing) const override {
    plain_labels(smoothing);
    const Value place = ops::square(outputs.at("place") - fields("place"));
    const Value light = ops::reshape(outputs.at("bright"), {kBatch}) - fields("bright");
    return ops::mean(ops::sum(place, {1})) + ops::mean(ops::square(light));
  }
  std::unique_ptr<Meter> meter() const override { return std::make_unique<SpotMeter>(); }
};

TEST(ToyTasks, TwoOutputsAreTrainedEvaluatedAndCompressed) {
  const Spots train(600), test(200);
  TrainerOptions options;
  options.batch = 50;
  options.optimizer.name = "adam";
  const auto make = [&] {
    return Trainer(std::make_shared<SpotNetwork>(), std::make_shared<FindSpots>(), options);
  };
  Trainer t = make();
  FitOptions how{.epochs = 60, .lr = cosine(0.005, 1e-4, 60)};
  // A metric of which more is better.
  how.early_stopping = {.validation = &test, .metric = "found", .patience = 60};
  const FitResult fitted = fit(t, train, how);
  const Evaluation dense = t.evaluate(test);
  EXPECT_GT(dense.value("found"), 90);
  EXPECT_LT(dense.value("distance"), 0.4);
  EXPECT_NEAR(fitted.best, dense.value(), 1e-4);

  const auto plan = quant::plan_compression(t.parameters(), t.state(),
                                            {.weights = {quant::CodebookSpec::adaptive(16)}});
  quant::QarOptions qar_options;
  qar_options.schedule = {.epochs = 8, .lr = 0.002};
  quant::Qar qar(qar_options);
  const auto result = quant::compress(t, train, plan, qar);
  Model packed = quant::harden(t, result.codebooks);
  EXPECT_GT(Evaluator(clone(packed.graph), t.task())(packed.state, test).value("found"), 80);

  // What looks at the loss of single samples works on any task; what needs a distribution says so.
  auto tensors = quant::candidates(t.parameters(), t.state(), {});
  const quant::CalibrationSet samples(train, 50);
  quant::measure_costs(tensors, inference_graph(t), t.task(), t.state(), samples,
                       quant::Sensitivity::fisher);
  EXPECT_GT(tensors.front().candidates.front().cost, 0);
  quant::MocqOptions mocq_options;
  mocq_options.schedule = {.epochs = 2};
  quant::Mocq mocq(mocq_options);
  EXPECT_EQ(error_of([&] { quant::compress(t, train, plan, mocq); }),
            "spots predicts no distribution that could be distilled");
  options.label_smoothing = 0.1;
  Trainer smoothed = make();
  EXPECT_EQ(error_of([&] { fit(smoothed, train, {.epochs = 1, .lr = constant(0.01)}); }),
            "spots has no labels to smooth, got a label smoothing of 0.1");
}

}  // namespace
}  // namespace tessera::nn
