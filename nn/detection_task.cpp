#include "nn/detection_task.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "nn/box_losses.h"
#include "nn/box_metrics.h"
#include "ops/build.h"

namespace tessera::nn {

namespace {

constexpr const char *kBoxes = "boxes", *kScores = "scores", *kPriors = "priors";
constexpr const char *kKinds = "kinds", *kAreas = "areas", *kCrowds = "crowds", *kIds = "ids",
                     *kObjects = "objects", *kFrame = "frame", *kLoss = "loss";
// Further than any two sizes are from each other.
constexpr double kFar = 1e4;
// Sizes whose distances differ by less (of logarithms) are equally similar.
constexpr double kSameSize = 1e-3;

std::vector<std::int64_t> all_kinds(std::int64_t n) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

// Which rows of a batch of tensors belong to sample i.
std::span<const float> rows_of(const Tensor& tensor, std::size_t i) {
  const auto all = tensor.span<float>();
  const auto n = all.size() / static_cast<std::size_t>(tensor.shape()[0].value());
  return all.subspan(i * n, n);
}

class DetectionMeter final : public Meter {
 public:
  DetectionMeter(std::int64_t kinds, const DetectionOptions& options)
      : kinds_(all_kinds(kinds)), options_(options), evaluation_(kinds_) {}

  void add(const TensorMap& fields, const TensorMap& outputs, const std::string& where) override {
    const auto losses = outputs.at(kLoss).span<float>();
    const auto counts = fields.at(kObjects).span<std::int32_t>();
    for (std::size_t i = 0; i < counts.size(); ++i, ++samples_) {
      check(!std::isnan(losses[i]), where, ": the loss of sample ", samples_, " is not a number");
      loss_ += static_cast<double>(losses[i]);
      const Frame frame = Frame::of(rows_of(fields.at(kFrame), i));
      evaluation_.add(samples_, objects_of(fields, i, frame, where),
                      detections_of(rows_of(outputs.at(kBoxes), i), rows_of(outputs.at(kScores), i),
                                    kinds_, frame, options_));
    }
  }

  std::vector<Metric> metrics() const override {
    std::vector<Metric> out = evaluation_.metrics().metrics();
    out[0].detail = cat(samples_, " pictures, ", objects_, " objects");
    out[1].detail = "overlap 0.5";
    out.push_back({kLoss, loss_ / static_cast<double>(samples_), "", true, 4});
    return out;
  }

 private:
  std::vector<TrueBox> objects_of(const TensorMap& fields, std::size_t i, const Frame& frame,
                                  const std::string& where) {
    const std::int64_t count = fields.at(kObjects).span<std::int32_t>()[i];
    const auto boxes = rows_of(fields.at(kBoxes), i), areas = rows_of(fields.at(kAreas), i);
    const std::size_t most = areas.size();
    check(count >= 0 && static_cast<std::size_t>(count) <= most, where, ": sample ", samples_,
          " has ", count, " objects of at most ", most);
    const auto whole = [&](const char* name, std::size_t k) {
      return fields.at(name).span<std::int32_t>()[i * most + k];
    };
    std::vector<TrueBox> out;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      out.push_back({frame.box(boxes.subspan(4 * k, 4)), whole(kKinds, k),
                     static_cast<double>(areas[k]), whole(kCrowds, k) != 0, whole(kIds, k)});
    }
    objects_ += count;
    return out;
  }

  std::vector<std::int64_t> kinds_;
  DetectionOptions options_;
  BoxEvaluation evaluation_;
  double loss_ = 0;
  std::int64_t samples_ = 0, objects_ = 0;
};

Value column(Value x, std::int64_t at) {
  return ops::slice(x, x.shape().rank() - 1, at, at + 1);
}

// Sums of samples over the places of all of them.
Value of_batch(const FieldInputs& fields, Value sums, Value places) {
  return ops::mean(sums) / ops::maximum(fields.joint_mean(ops::mean(places)), 1.0);
}

// Which object each place answers for.
struct Assignment {
  Value box;      // [batch, places, 4]
  Value kind;     // f32 [batch, places], 0 where there is none
  Value there;    // [batch, places, 1]: 1 where there is an object
  Value ignored;  // [batch, places, 1]: 1 within a crowd, and nothing else
};

Assignment assign(const FieldInputs& fields, Value priors, std::int64_t most, double radius) {
  const Value boxes = fields(kBoxes), crowds = ops::cast(fields(kCrowds), DType::f32);
  const auto flat = [&](Value x) { return ops::reshape(x, {kBatch, 1, most}); };
  const auto of_box = [&](std::int64_t at) { return flat(column(boxes, at)); };
  const Value x = of_box(0), y = of_box(1), w = of_box(2), h = of_box(3), crowd = flat(crowds);
  // Padding, and boxes without an area, are nobody's matter.
  const Value real = ops::greater(ops::minimum(w, h), 0.0);
  // [batch, places, most], along one axis: from the place's centre to the object's, and whether
  // that is near enough.
  const auto near = [&](Value centre, Value size, Value at, Value cell) {
    const Value reach = ops::minimum(ops::maximum(size * 0.5, cell * 0.5), cell * radius);
    return ops::greater_equal(reach, ops::abs(centre - at));
  };
  const Value px = column(priors, 0), py = column(priors, 1);
  const Value inside =
      near(x, w, px, column(priors, 4)) * near(y, h, py, column(priors, 5)) * real * (1.0 - crowd);
  const auto unlike = [&](Value size, std::int64_t at) {
    return ops::abs(ops::log(ops::maximum(size, 1e-6)) - ops::log(column(priors, at)));
  };
  const Value distance = ops::where(inside, ops::maximum(unlike(w, 2), unlike(h, 3)), kFar);
  const Value nearest = -ops::max(-distance, {1}, true);
  const Value candidate = inside * ops::greater_equal(nearest + kSameSize, distance);
  // The smallest candidate of each place; areas are shares, so at most some 1.
  const Value order = ops::where(candidate, -(w * h), -kFar);
  const Value there = ops::max(candidate, {2}, true);
  const Value mine = ops::one_hot(ops::argmax(order, 2), most) * there;
  const auto taken = [&](Value of) { return ops::sum(mine * of, {2}, true); };
  const auto in = [&](Value centre, Value size, Value at) {
    return ops::greater_equal(size * 0.5, ops::abs(centre - at));
  };
  const Value in_crowd = ops::max(crowd * in(x, w, px) * in(y, h, py), {2}, true);
  return {ops::concat({taken(x), taken(y), taken(w), taken(h)}, 2),
          ops::sum(mine * flat(ops::cast(fields(kKinds), DType::f32)), {2}), there,
          in_crowd * (1.0 - there)};
}

}  // namespace

Detection::Detection(Shape picture, std::int64_t kinds, std::int64_t most, DetectionRules rules)
    : picture_(std::move(picture)), kinds_(kinds), most_(most), rules_(rules) {
  check(kinds >= 1 && most >= 1,
        "[detection] expected at least one kind of objects and room for one, got ", kinds, " and ",
        most);
  check(picture_.rank() == 3 && !picture_.is_symbolic(),
        "[detection] expected pictures [channels,height,width], got ", picture_.text());
  check(rules.radius >= 0.5 && rules.score_weight >= 0 && rules.box_weight >= 0,
        "[detection] expected a radius of half a cell or more and weights of at least 0, got ",
        rules.radius, ", ", rules.score_weight, " and ", rules.box_weight);
}

std::vector<Field> Detection::inputs() const {
  return {{"x", DType::f32, picture_}};
}

std::vector<Field> Detection::targets() const {
  return detection_fields(kinds_, most_);
}

void Detection::require_outputs(const Values& outputs) const {
  const Value boxes = require(outputs, kBoxes, name());
  const auto fits = [&](const char* output, std::int64_t columns) {
    const Value value = require(outputs, output, name());
    check(value.type().dtype == DType::f32 && value.shape().rank() == 3 &&
              value.shape()[0] == kBatch && value.shape()[1] == boxes.shape()[1] &&
              value.shape()[2] == Dim(columns),
          "the model gives ", output, " ", value.type().text(), ", expected f32[batch,places,",
          columns, "]");
  };
  check(boxes.shape().rank() == 3, "the model gives ", kBoxes, " ", boxes.type().text(),
        ", expected f32[batch,places,4]");
  fits(kBoxes, 4);
  fits(kScores, kinds_);
  fits(kPriors, 6);
}

Value Detection::target(const FieldInputs& fields, const Values& outputs,
                        double label_smoothing) const {
  plain_labels(label_smoothing);
  const Assignment a = assign(fields, outputs.at(kPriors), most_, rules_.radius);
  const Value quality = box_iou(outputs.at(kBoxes), a.box) * a.there;
  const Value kind = ops::one_hot(ops::cast(a.kind, DType::s32), kinds_);
  // A score that is its own target has no loss.
  const Value scores = kind * quality + outputs.at(kScores) * a.ignored;
  return ops::detach(ops::concat({scores, a.box, a.there}, 2));
}

Value Detection::prediction(const Values& outputs) const {
  const Value scores = outputs.at(kScores), sure = ops::max(scores, {2}, true);
  return ops::concat({scores, outputs.at(kBoxes) * sure, sure}, 2);
}

Detection::Parts Detection::parts(const Values& outputs, Value target) const {
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return ops::slice(target, 2, begin, end);
  };
  const Value weight = part(kinds_ + 4, kinds_ + 5);
  const Value box = part(kinds_, kinds_ + 4) / ops::maximum(weight, 1e-6);
  const Value scores = ops::sum(focal_loss(outputs.at(kScores), part(0, kinds_)), {1, 2});
  const Value boxes = ops::sum(weight * (1.0 - box_giou(outputs.at(kBoxes), box)), {1, 2});
  return {scores * rules_.score_weight, boxes * rules_.box_weight, ops::sum(weight, {1, 2})};
}

std::vector<NamedLoss> Detection::losses(const FieldInputs& fields, const Values& outputs,
                                         double label_smoothing) const {
  const Parts p = parts(outputs, target(fields, outputs, label_smoothing));
  return {{kScores, of_batch(fields, p.scores, p.places)},
          {kBoxes, of_batch(fields, p.boxes, p.places)}};
}

Value Detection::loss_to(const FieldInputs& fields, const Values& outputs, Value target) const {
  const Parts p = parts(outputs, target);
  return of_batch(fields, p.scores + p.boxes, p.places);
}

Value Detection::loss(const FieldInputs& fields, const Values& outputs,
                      double label_smoothing) const {
  return loss_to(fields, outputs, target(fields, outputs, label_smoothing));
}

Values Detection::measured(const FieldInputs& fields, const Values& outputs) const {
  const Parts p = parts(outputs, target(fields, outputs, 0));
  return {{kBoxes, outputs.at(kBoxes)},
          {kScores, outputs.at(kScores)},
          {kLoss, (p.scores + p.boxes) / ops::maximum(p.places, 1.0)}};
}

std::unique_ptr<Meter> Detection::meter() const {
  return std::make_unique<DetectionMeter>(kinds_, rules_.found);
}

void Detection::draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                             TensorMap& fields, const std::string& where) const {
  const Tensor &boxes = outputs.at(kBoxes), &scores = outputs.at(kScores);
  const auto counts = fields.at(kObjects).span<std::int32_t>();
  const std::vector<std::int64_t> kinds = all_kinds(kinds_);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::int64_t sample = first + static_cast<std::int64_t>(i);
    const auto own = rows_of(scores, i);
    check(std::none_of(own.begin(), own.end(), [](float v) { return std::isnan(v); }),
          "the network's scores on sample ", sample, " of ", where, " are not finite");
    Rng rng(seed, stable_id(cat("calibration objects ", sample)));
    std::int32_t n = 0;
    for (const DetectedBox& d :
         detections_of(rows_of(boxes, i), own, kinds, Frame{}, rules_.found)) {
      if (n == most_ || rng.uniform() >= static_cast<float>(d.score)) continue;
      const auto at = i * static_cast<std::size_t>(most_) + static_cast<std::size_t>(n++);
      const double box[] = {d.box.x + d.box.width / 2, d.box.y + d.box.height / 2, d.box.width,
                            d.box.height};
      for (std::size_t k = 0; k < 4; ++k)
        fields.at(kBoxes).span<float>()[4 * at + k] = static_cast<float>(box[k]);
      fields.at(kKinds).span<std::int32_t>()[at] = static_cast<std::int32_t>(d.category);
      fields.at(kIds).span<std::int32_t>()[at] = n;
    }
    counts[i] = n;
  }
}

}  // namespace tessera::nn
