#include "quant/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/compile.h"
#include "core/interrupt.h"
#include "core/rng.h"
#include "nn/evaluator.h"

namespace tessera::quant {

CalibrationSet::CalibrationSet(const BatchSource& data, std::int64_t samples)
    : name_(data.name()), classes_(data.classes()), sample_(data.sample_shape()) {
  check(samples >= 1, "calibration needs at least one sample, got ", samples);
  check(data.samples() >= 1, data.name(), " has no samples to calibrate with");
  const std::int64_t n = std::min(samples, data.samples());
  x_ = Tensor(DType::f32, nn::batched(sample_).bind(n));
  y_ = Tensor(DType::s32, Shape{n});
  std::vector<std::int64_t> places(static_cast<std::size_t>(n));
  std::iota(places.begin(), places.end(), 0);
  Rng rng(0, stable_id("calibration"));
  for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[rng.below(i)]);
  for (std::int64_t i = 0; i < n; ++i) {
    stop_if_interrupted();
    const std::int64_t place = places[static_cast<std::size_t>(i)];
    Tensor x = x_.slice(place, place + 1), y = y_.slice(place, place + 1);
    data.fill(-1, i * data.samples() / n, x, y);
  }
}

void CalibrationSet::fill(std::int64_t, std::int64_t first, Tensor& x, Tensor& y) const {
  const std::int64_t n = y.numel();
  check(first >= 0 && n >= 0 && first + n <= samples(), name_, ": samples ", first, " to ",
        first + n, " of a calibration set of ", samples());
  x.copy_from<float>(x_.slice(first, first + n).span<float>());
  y.copy_from<std::int32_t>(y_.slice(first, first + n).span<std::int32_t>());
}

void CalibrationSet::draw_labels(const Graph& inference, const State& state, std::uint64_t seed) {
  // Of a copy of the list: contexts of a live plan may write to their state.
  State shared;
  for (const Node* node : inference.states()) shared.set(node->name(), state.get(node->name()));
  const std::int64_t most = nn::evaluation_batch(sample_);
  std::vector<double> share;
  for (std::int64_t first = 0; first < samples(); first += most) {
    stop_if_interrupted();
    const std::int64_t n = std::min(most, samples() - first);
    const auto outputs =
        compile(inference, shared, {.batch = n}).run({{"x", x_.slice(first, first + n)}});
    const Tensor& logits = outputs.at("logits");
    classes_ = logits.shape()[1].value();
    share.resize(static_cast<std::size_t>(classes_));
    const auto values = logits.span<float>();
    for (std::int64_t i = 0; i < n; ++i) {
      const auto row = values.subspan(static_cast<std::size_t>(i * classes_), share.size());
      const float best = *std::max_element(row.begin(), row.end());
      double sum = 0;
      for (std::size_t c = 0; c < share.size(); ++c)
        sum += share[c] = std::exp(static_cast<double>(row[c]) - best);
      check(std::isfinite(sum), "the network's logits on sample ", first + i, " of ", name_,
            " are not finite");
      Rng rng(seed, stable_id(cat("calibration label ", first + i)));
      double left = static_cast<double>(rng.uniform()) * sum;
      std::size_t label = 0;
      while (label + 1 < share.size() && left >= share[label]) left -= share[label++];
      y_.span<std::int32_t>()[static_cast<std::size_t>(first + i)] =
          static_cast<std::int32_t>(label);
    }
  }
}

}  // namespace tessera::quant
