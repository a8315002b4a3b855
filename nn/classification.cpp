#include "nn/classification.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/rng.h"
#include "nn/draw.h"
#include "ops/build.h"

namespace tessera::nn {

namespace {

constexpr const char* kLogits = "logits";
constexpr std::int64_t kManyClasses = 100;  // from here on the first five guesses mean something

// Logits before this one by size; of equal ones the first comes first, NaN counts as the largest.
std::int64_t rank_of(std::span<const float> row, std::size_t label) {
  const float own = row[label];
  const auto at = row.begin() + static_cast<std::ptrdiff_t>(label);
  return std::count_if(row.begin(), at, [&](float v) { return !(v < own); }) +
         std::count_if(at + 1, row.end(), [&](float v) { return !(v <= own); });
}

class ClassificationMeter final : public Meter {
 public:
  explicit ClassificationMeter(std::int64_t classes) : classes_(classes) {}
  void add(const TensorMap& fields, const TensorMap& outputs, const std::string& where) override {
    const Tensor& logits = outputs.at(kLogits);
    const auto values = logits.span<float>();
    const auto classes = static_cast<std::size_t>(logits.shape()[1].value());
    const auto labels = fields.at("y").span<std::int32_t>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const auto row = values.subspan(i * classes, classes);
      const std::int32_t label = labels[i];
      check(label >= 0 && static_cast<std::size_t>(label) < classes, where, ": label ", label,
            " of sample ", samples_, " is outside the network's ", classes, " classes");
      const float best = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (const float v : row) sum += std::exp(static_cast<double>(v - best));
      loss_ += std::log(sum) + best - row[static_cast<std::size_t>(label)];
      const std::int64_t rank = rank_of(row, static_cast<std::size_t>(label));
      correct_ += rank == 0;
      correct5_ += rank < 5;
      ++samples_;
    }
  }

  std::vector<Metric> metrics() const override {
    const auto n = static_cast<double>(samples_);
    const auto count = [](const char* name, std::int64_t value) {
      Metric out{name, static_cast<double>(value), "", false, 0};
      out.count = true;
      return out;
    };
    const auto wrong = [&](std::int64_t right) {
      return 100 * (1 - static_cast<double>(right) / n);
    };
    std::vector<Metric> out = {
        {"error", wrong(correct_), "%", true, 2, cat(correct_, " of ", samples_, " correct")},
        {"loss", loss_ / n, "", true, 4},
        count("correct", correct_),
        count("correct5", correct5_)};
    if (classes_ >= kManyClasses)
      out.push_back({"top5_error", wrong(correct5_), "%", true, 2, cat(correct5_), "top-5 error"});
    return out;
  }

 private:
  std::int64_t classes_;
  double loss_ = 0;
  std::int64_t correct_ = 0, correct5_ = 0, samples_ = 0;
};

}  // namespace

Classification::Classification(Shape sample, std::int64_t classes)
    : sample_(std::move(sample)), classes_(classes) {
  check(classes >= 1, "[classification] expected at least one class, got ", classes);
}

std::vector<Field> Classification::inputs() const {
  return {{"x", DType::f32, sample_}};
}

std::vector<Field> Classification::targets() const {
  return {{"y", DType::s32, {}, classes_}};
}

void Classification::require_outputs(const Values& outputs) const {
  const Value logits = require(outputs, kLogits, name());
  check(logits.type().dtype == DType::f32 && logits.shape() == Shape({kBatch, classes_}),
        "the model gives ", logits.type().text(), ", expected logits f32[batch,", classes_, "]");
}

Value Classification::loss(const FieldInputs& fields, const Values& outputs,
                           double label_smoothing) const {
  return ops::mean(ops::cross_entropy(outputs.at(kLogits), fields("y"), label_smoothing));
}

std::unique_ptr<Meter> Classification::meter() const {
  return std::make_unique<ClassificationMeter>(classes_);
}

Value Classification::target(const FieldInputs& fields, const Values&,
                             double label_smoothing) const {
  const Value labels = ops::one_hot(fields("y"), classes_);
  if (label_smoothing == 0) return labels;
  return labels * (1 - label_smoothing) + label_smoothing / static_cast<double>(classes_);
}

Value Classification::prediction(const Values& outputs) const {
  return ops::softmax(outputs.at(kLogits));
}

Value Classification::loss_to(const FieldInputs&, const Values& outputs, Value target) const {
  return ops::mean(ops::soft_cross_entropy(outputs.at(kLogits), target));
}

void Classification::draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                                  TensorMap& fields, const std::string& where) const {
  const Tensor& logits = outputs.at(kLogits);
  const auto values = logits.span<float>();
  const auto classes = static_cast<std::size_t>(logits.shape()[1].value());
  const auto labels = fields.at("y").span<std::int32_t>();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::int64_t sample = first + static_cast<std::int64_t>(i);
    Rng rng(seed, stable_id(cat("calibration label ", sample)));
    labels[i] = draw(values.subspan(i * classes, classes), rng);
    check(labels[i] >= 0, "the network's logits on sample ", sample, " of ", where,
          " are not finite");
  }
}

Trainer classifier(std::shared_ptr<const Network> network, Shape sample, std::int64_t classes,
                   TrainerOptions options) {
  return Trainer(std::move(network), std::make_shared<Classification>(std::move(sample), classes),
                 std::move(options));
}

Trainer classifier(std::shared_ptr<const Module> module, Shape sample, std::int64_t classes,
                   TrainerOptions options) {
  return classifier(as_network(std::move(module)), std::move(sample), classes, std::move(options));
}

}  // namespace tessera::nn
