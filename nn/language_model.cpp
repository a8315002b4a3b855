#include "nn/language_model.h"

#include <cmath>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "nn/draw.h"
#include "ops/build.h"

namespace tessera::nn {

namespace {

constexpr const char* kLogits = "logits";
constexpr const char* kNats = "nats";

class PerplexityMeter final : public Meter {
 public:
  void add(const TensorMap& fields, const TensorMap& outputs, const std::string& where) override {
    const auto nats = outputs.at(kNats).span<float>();
    const auto weight = fields.at("weight").span<float>();
    for (std::size_t i = 0; i < nats.size(); ++i) {
      check(!std::isnan(nats[i]), where, ": the loss of sample ", samples_, " is not a number");
      loss_ += static_cast<double>(nats[i]);
      ++samples_;
    }
    for (const float w : weight) tokens_ += static_cast<double>(w);
  }

  std::vector<Metric> metrics() const override {
    const double loss = loss_ / tokens_;
    Metric tokens{"tokens", tokens_, "", false, 0};
    tokens.count = true;
    return {{"perplexity", std::exp(loss), "", true, 2,
             cat(static_cast<std::int64_t>(tokens_), " tokens")},
            {"loss", loss, "", true, 4},
            {"bits", loss / std::log(2.0), "", true, 3},
            tokens};
  }

 private:
  double loss_ = 0, tokens_ = 0;
  std::int64_t samples_ = 0;
};

// [batch, steps] in the order of the logits' rows.
Value rows_of(Value field) {
  return ops::reshape(ops::transpose(field), {field.shape().numel_dim()});
}

}  // namespace

LanguageModeling::LanguageModeling(std::int64_t steps, std::int64_t tokens)
    : steps_(steps), tokens_(tokens) {
  check(steps >= 1 && tokens >= 1,
        "[language model] expected at least one step and one token, got ", steps, " and ", tokens);
}

std::vector<Field> LanguageModeling::inputs() const {
  return {{"x", DType::s32, {steps_}, tokens_}};
}

std::vector<Field> LanguageModeling::targets() const {
  return {{"y", DType::s32, {steps_}, tokens_}, {"weight", DType::f32, {steps_}}};
}

std::shared_ptr<const Task> LanguageModeling::stepwise() const {
  return std::make_shared<LanguageModeling>(1, tokens_);
}

void LanguageModeling::require_outputs(const Values& outputs) const {
  const Value logits = require(outputs, kLogits, name());
  const Shape wanted = {kBatch * steps_, tokens_};
  check(logits.type().dtype == DType::f32 && logits.shape() == wanted, "the model gives ",
        logits.type().text(), ", expected logits f32", wanted.text());
}

Value LanguageModeling::loss(const FieldInputs& fields, const Values& outputs,
                             double label_smoothing) const {
  const Value weight = rows_of(fields("weight"));
  const Value each =
      ops::cross_entropy(outputs.at(kLogits), rows_of(fields("y")), label_smoothing) * weight;
  return ops::sum(each) / fields.joint_mean(ops::sum(weight));
}

Values LanguageModeling::measured(const FieldInputs& fields, const Values& outputs) const {
  const Value each =
      ops::cross_entropy(outputs.at(kLogits), rows_of(fields("y"))) * rows_of(fields("weight"));
  return {{kNats, ops::sum(ops::reshape(each, {steps_, kBatch}), {0})}};
}

std::unique_ptr<Meter> LanguageModeling::meter() const {
  return std::make_unique<PerplexityMeter>();
}

Value LanguageModeling::target(const FieldInputs& fields, const Values&,
                               double label_smoothing) const {
  Value labels = ops::one_hot(rows_of(fields("y")), tokens_);
  if (label_smoothing != 0)
    labels = labels * (1 - label_smoothing) + label_smoothing / static_cast<double>(tokens_);
  return labels * ops::reshape(rows_of(fields("weight")), {kBatch * steps_, 1});
}

Value LanguageModeling::prediction(const Values& outputs) const {
  return ops::softmax(outputs.at(kLogits));
}

Value LanguageModeling::loss_to(const FieldInputs& fields, const Values& outputs,
                                Value target) const {
  return ops::sum(ops::soft_cross_entropy(outputs.at(kLogits), target)) /
         fields.joint_mean(ops::sum(target));
}

void LanguageModeling::draw_targets(const TensorMap& outputs, std::uint64_t seed,
                                    std::int64_t first, TensorMap& fields,
                                    const std::string& where) const {
  const Tensor& logits = outputs.at(kLogits);
  const auto values = logits.span<float>();
  const auto labels = fields.at("y").span<std::int32_t>();
  const auto tokens = static_cast<std::size_t>(logits.shape()[1].value());
  const std::size_t steps = static_cast<std::size_t>(steps_), batch = labels.size() / steps;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::size_t b = i / steps, t = i % steps;
    const std::int64_t sample = first + static_cast<std::int64_t>(b);
    Rng rng(seed, stable_id(cat("calibration token ", sample, ".", t)));
    labels[i] = draw(values.subspan((t * batch + b) * tokens, tokens), rng);
    check(labels[i] >= 0, "the network's logits on sample ", sample, " of ", where,
          " are not finite");
  }
}

}  // namespace tessera::nn
