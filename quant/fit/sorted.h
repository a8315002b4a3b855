// Weights sorted once, with moments of any range: what every exact fit is made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace tessera::quant {

// sum h, sum h (w - centre), sum h (w - centre)^2 over some weights.
struct Moments {
  double mass = 0, sum = 0, square = 0;

  Moments operator-(const Moments& other) const {
    return {mass - other.mass, sum - other.sum, square - other.square};
  }
  Moments& operator+=(const Moments& other) {
    mass += other.mass, sum += other.sum, square += other.square;
    return *this;
  }
  // sum h (w - mean)^2; 0 for no mass. Rounding may not make it negative.
  double spread() const {
    if (!(mass > 0)) return 0;
    const double cost = square - sum * sum / mass;
    return cost > 0 ? cost : 0;
  }
};

// The weights that matter (importance > 0; all of them when none has any), ascending, with prefix
// moments about their mean. Positions count weights from the smallest: 0..size().
//
// Only every 32nd prefix is stored (0.75 bytes a weight instead of 24) and the rest is added up on
// demand. Stored prefixes are compensated sums, correct to about one unit of the last place of f64
// whatever the length, and identical for any number of threads.
class SortedWeights {
 public:
  // weights: finite, size < 2^32; importance: empty (all 1) or as long, >= 0.
  SortedWeights(std::span<const float> weights, std::span<const float> importance);

  std::size_t size() const { return size_; }
  float operator[](std::size_t i) const { return values_[i]; }
  float importance(std::size_t i) const { return importance_ ? importance_[i] : 1.0f; }
  double centre() const { return centre_; }

  // Moments of the weights below position p in 0..size().
  Moments before(std::size_t p) const;
  Moments total() const { return before(size_); }
  Moments between(std::size_t begin, std::size_t end) const { return before(end) - before(begin); }
  double mean(const Moments& range) const { return centre_ + range.sum / range.mass; }

  // Number of weights <= limit. The search gallops from `hint`: near answers are cheap.
  std::size_t count_not_above(float limit, std::size_t hint) const;

  // The distinct values ascending, but at most `limit` of them.
  std::vector<float> distinct(std::size_t limit) const;

 private:
  static constexpr std::size_t kStride = 32;
  void build_prefix();
  void sum_prefix();
  template <bool kWeighted>
  Moments sum_range(std::size_t begin, std::size_t end) const;

  std::size_t size_ = 0;
  std::unique_ptr<float[]> values_, importance_;
  double centre_ = 0;
  std::vector<Moments> prefix_;
};

}  // namespace tessera::quant
