#include "quant/fit/sorted.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit/sort.h"

namespace tessera::quant {
namespace {

constexpr std::int64_t kGrain = 1 << 12;  // blocks of kStride weights for one thread

using Lanes = double __attribute__((vector_size(32)));

// Neumaier's compensated sum.
struct ExactSum {
  double sum = 0, lost = 0;

  void add(double value) {
    const double next = sum + value;
    lost += std::abs(sum) >= std::abs(value) ? (sum - next) + value : (value - next) + sum;
    sum = next;
  }
  double value() const { return sum + lost; }
};

}  // namespace

SortedWeights::SortedWeights(std::span<const float> weights, std::span<const float> importance) {
  TESSERA_ASSERT(!weights.empty() && weights.size() <= 0xffffffffu);
  TESSERA_ASSERT(importance.empty() || importance.size() == weights.size());
  const auto count = static_cast<std::size_t>(
      std::count_if(importance.begin(), importance.end(), [](float h) { return h > 0; }));
  const bool weighted = count > 0;
  size_ = weighted ? count : weights.size();
  values_ = std::make_unique_for_overwrite<float[]>(size_);
  if (weighted) importance_ = std::make_unique_for_overwrite<float[]>(size_);

  const std::span<float> sorted(values_.get(), size_);
  const std::span<float> sorted_importance(importance_.get(), weighted ? size_ : 0);
  if (weighted && count < weights.size()) {
    std::vector<float> kept, kept_importance;
    kept.reserve(count), kept_importance.reserve(count);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (importance[i] > 0) kept.push_back(weights[i]), kept_importance.push_back(importance[i]);
    }
    sort_floats(kept, kept_importance, sorted, sorted_importance);
  } else {
    sort_floats(weights, weighted ? importance : importance.first(0), sorted, sorted_importance);
  }
  build_prefix();
}

void SortedWeights::build_prefix() {
  // Moments about a centre near the mean, so that a common offset costs no digits of the second
  // moments. The mean of evenly spaced ranks is near enough unless a few weights carry nearly all
  // the importance; then the true mean, known by now, is taken and the sums are built again.
  constexpr std::size_t kSamples = 4096;
  const std::size_t step = std::max<std::size_t>(1, size_ / kSamples);
  Moments sample;
  centre_ = 0;
  for (std::size_t i = step / 2; i < size_; i += step)
    sample += {importance(i), static_cast<double>(importance(i)) * values_[i], 0};
  centre_ = mean(sample);
  sum_prefix();
  const Moments all = total();
  if (all.sum * all.sum / all.mass > 3 * all.spread()) {
    centre_ = mean(all);
    sum_prefix();
  }
}

void SortedWeights::sum_prefix() {
  const std::size_t blocks = (size_ + kStride - 1) / kStride;
  prefix_.assign(blocks + 1, {});
  parallel_for(
      static_cast<std::int64_t>(blocks), kGrain, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t b = begin; b < end; ++b) {
          const std::size_t first = b * kStride;
          prefix_[b + 1] = importance_ ? sum_range<true>(first, std::min(first + kStride, size_))
                                       : sum_range<false>(first, std::min(first + kStride, size_));
        }
      });
  ExactSum mass, sum, square;
  for (Moments& block : prefix_) {
    mass.add(block.mass), sum.add(block.sum), square.add(block.square);
    block = {mass.value(), sum.value(), square.value()};
  }
}

template <bool kWeighted>
Moments SortedWeights::sum_range(std::size_t begin, std::size_t end) const {
  // Four lanes, so that an addition need not wait for the one before it; their order is fixed.
  Lanes mass{}, sum{}, square{};
  const auto add = [&](const Lanes& h, const Lanes& w) {
    const Lanes x = w - centre_, hx = kWeighted ? h * x : x;
    if constexpr (kWeighted) mass += h;
    sum += hx;
    square += hx * x;
  };
  const float *w = values_.get(), *h = importance_.get();
  std::size_t i = begin;
  for (; i + 4 <= end; i += 4) {
    Lanes importance{};
    if constexpr (kWeighted) importance = Lanes{h[i], h[i + 1], h[i + 2], h[i + 3]};
    add(importance, Lanes{w[i], w[i + 1], w[i + 2], w[i + 3]});
  }
  Moments moments{(mass[0] + mass[1]) + (mass[2] + mass[3]), (sum[0] + sum[1]) + (sum[2] + sum[3]),
                  (square[0] + square[1]) + (square[2] + square[3])};
  for (; i < end; ++i) {
    const double x = w[i] - centre_, hx = kWeighted ? h[i] * x : x;
    moments += {kWeighted ? h[i] : 0.0, hx, hx * x};
  }
  if constexpr (!kWeighted) moments.mass = static_cast<double>(end - begin);
  return moments;
}

Moments SortedWeights::before(std::size_t p) const {
  const std::size_t block = p / kStride;
  Moments moments = prefix_[block];
  const std::size_t begin = block * kStride;
  return moments += importance_ ? sum_range<true>(begin, p) : sum_range<false>(begin, p);
}

std::size_t SortedWeights::count_not_above(float limit, std::size_t hint) const {
  const float* values = values_.get();
  std::size_t low = std::min(hint, size_), high = low;  // the answer ends up in [low, high]
  std::size_t step = 1;
  if (low < size_ && values[low] <= limit) {
    while (high < size_ && values[high] <= limit) {
      low = high + 1;
      high = std::min(size_, high + step);
      step *= 2;
    }
  } else {
    while (low > 0 && values[low - 1] > limit) {
      high = low - 1;
      low -= std::min(low, step);
      step *= 2;
    }
  }
  return static_cast<std::size_t>(std::upper_bound(values + low, values + high, limit) - values);
}

std::vector<float> SortedWeights::distinct(std::size_t limit) const {
  std::vector<float> found;
  std::size_t position = 0;
  while (position < size_ && found.size() < limit) {
    const float value = values_[position] + 0.0f;  // -0 becomes 0
    found.push_back(value);
    position = count_not_above(value, position);
  }
  return found;
}

}  // namespace tessera::quant
