#include "quant/fit/scale.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace tessera::quant {
namespace {

constexpr std::size_t kSweep = 256;  // so few breakpoints are swept one by one
constexpr int kGrid = 64;            // scales tried first
constexpr double kRounding = 1e-14;

// sum h w c and sum h c^2 of an assignment.
struct Sums {
  double cross = 0, square = 0;

  double scale() const { return cross > 0 && square > 0 ? cross / square : 0; }
  double gain() const { return cross > 0 && square > 0 ? cross * cross / square : 0; }
};

class ScaleSearch {
 public:
  ScaleSearch(const SortedWeights& weights, std::span<const float> entries)
      : weights_(weights), entries_(entries.begin(), entries.end()) {
    for (std::size_t k = 0; k + 1 < entries_.size(); ++k)
      middles_.push_back(0.5 * (entries_[k] + entries_[k + 1]));
    const Moments all = weights.total();
    total_ = all.square + 2 * weights.centre() * all.sum +
             weights.centre() * weights.centre() * all.mass;
  }

  double solve() {
    const double last = last_breakpoint();
    take(sums(bounds_at(2 * last)));
    if (!(last > 0)) return best_.scale();
    // From the breakpoints' end downwards: most scales of interest are within a few octaves.
    std::vector<double> scales{0};
    for (int i = kGrid; i-- > 0;) scales.push_back(last * std::exp2(-0.25 * i));
    std::vector<Bounds> bounds;
    for (const double a : scales) {
      bounds.push_back(bounds_at(a));
      take(sums(bounds.back()));
    }
    polish();
    for (std::size_t i = 0; i + 1 < scales.size(); ++i)
      search(scales[i], bounds[i], scales[i + 1], bounds[i + 1]);
    return best_.scale();
  }

 private:
  // bounds[k] = number of weights below the cell of entry k; first 0, last size().
  using Bounds = std::vector<std::size_t>;

  double last_breakpoint() const {
    const double low = weights_[0], high = weights_[weights_.size() - 1];
    double last = 0;
    for (const double middle : middles_) {
      if (middle > 0) last = std::max(last, high / middle);
      if (middle < 0) last = std::max(last, low / middle);
    }
    return std::min(last, static_cast<double>(std::numeric_limits<float>::max()));
  }

  // At scale 0: the limit from above.
  Bounds bounds_at(double scale) const {
    Bounds bounds{0};
    for (const double middle : middles_) {
      const double limit = scale * middle;
      float below = static_cast<float>(std::clamp<double>(limit, -std::numeric_limits<float>::max(),
                                                          std::numeric_limits<float>::max()));
      const bool open = scale == 0 && middle < 0;  // just below zero: zeros lie above
      if (below > limit || open)
        below = std::nextafter(below, -std::numeric_limits<float>::infinity());
      bounds.push_back(weights_.count_not_above(below, bounds.back()));
    }
    bounds.push_back(weights_.size());
    return bounds;
  }

  double raw_sum(const Moments& range) const { return range.sum + weights_.centre() * range.mass; }

  Sums sums(const Bounds& bounds) const {
    Sums sums;
    for (std::size_t k = 0; k < entries_.size(); ++k) {
      if (bounds[k] >= bounds[k + 1]) continue;
      const Moments cell = weights_.between(bounds[k], bounds[k + 1]);
      sums.cross += entries_[k] * raw_sum(cell);
      sums.square += entries_[k] * entries_[k] * cell.mass;
    }
    return sums;
  }

  void take(const Sums& sums) {
    if (sums.gain() > best_.gain()) best_ = sums;
  }

  // Alternates assignment and scale from the best so far: a good bound before the search.
  void polish() {
    for (int i = 0; i < 100; ++i) {
      const double before = best_.gain();
      take(sums(bounds_at(best_.scale())));
      if (!(best_.gain() > before)) break;
    }
  }

  // A lower bound of the error over all scales in [a, b].
  double least_error(double a, const Bounds& at_a, double b, const Bounds& at_b) const {
    // Weights in [begin, end) keep entry k throughout, in [end, next begin) a breakpoint passes.
    double square = 0, passing = 0;
    Sums keeping;
    std::size_t kept_to = 0, last_kept = kNone;
    for (std::size_t k = 0; k < entries_.size(); ++k) {
      const std::size_t begin = std::max(at_a[k], at_b[k]);
      const std::size_t end = std::min(at_a[k + 1], at_b[k + 1]);
      if (begin >= end) continue;
      const Moments cell = weights_.between(begin, end);
      const double sum = raw_sum(cell), centre = weights_.centre();
      keeping.cross += entries_[k] * sum;
      keeping.square += entries_[k] * entries_[k] * cell.mass;
      square += cell.square + 2 * centre * cell.sum + centre * centre * cell.mass;
      // Between the cells of neighbours k-1 and k only these two entries are met.
      if (k > 0 && begin > kept_to && last_kept == k - 1)
        passing += passing_error(a, b, k, kept_to, begin);
      last_kept = k;
      kept_to = end;
    }
    double at = keeping.square > 0 ? keeping.cross / keeping.square : a;
    at = std::clamp(at, a, b);
    return square - 2 * at * keeping.cross + at * at * keeping.square + passing;
  }

  double passing_error(double a, double b, std::size_t k, std::size_t begin,
                       std::size_t end) const {
    const double low = weights_[begin], high = weights_[end - 1];
    const auto distance = [&](double entry) {
      const double reach_low = std::min(a * entry, b * entry);
      const double reach_high = std::max(a * entry, b * entry);
      return std::max({0.0, low - reach_high, reach_low - high});
    };
    const double nearest = std::min(distance(entries_[k - 1]), distance(entries_[k]));
    return weights_.between(begin, end).mass * nearest * nearest;
  }

  void search(double a, const Bounds& at_a, double b, const Bounds& at_b) {
    std::size_t passing = 0;
    for (std::size_t k = 1; k + 1 < at_a.size(); ++k)
      passing += std::max(at_a[k], at_b[k]) - std::min(at_a[k], at_b[k]);
    // Both ends are known already; without breakpoints nothing else is between.
    if (passing == 0) return;
    if (least_error(a, at_a, b, at_b) > total_ - best_.gain() + kRounding * total_) return;
    const double middle = 0.5 * (a + b);
    if (passing <= kSweep || !(middle > a && middle < b)) {
      sweep(at_a, at_b);
      return;
    }
    const Bounds at_middle = bounds_at(middle);
    take(sums(at_middle));
    search(a, at_a, middle, at_middle);
    search(middle, at_middle, b, at_b);
  }

  // Visits every assignment between two scales, in the order of the breakpoints.
  void sweep(const Bounds& at_a, const Bounds& at_b) {
    struct Event {
      double scale;
      double cross, square;  // change of the sums
    };
    std::vector<Event> events;
    for (std::size_t k = 0; k < middles_.size(); ++k) {
      const double lower = entries_[k], upper = entries_[k + 1];
      const std::size_t from = at_a[k + 1], to = at_b[k + 1];
      const double sign = to > from ? 1 : -1;  // the limit passes upwards: weights get the lower
      for (std::size_t i = std::min(from, to); i < std::max(from, to); ++i) {
        const double h = weights_.importance(i), w = weights_[i];
        events.push_back({w / middles_[k], sign * h * w * (lower - upper),
                          sign * h * (lower * lower - upper * upper)});
      }
    }
    std::sort(events.begin(), events.end(),
              [](const Event& x, const Event& y) { return x.scale < y.scale; });
    Sums now = sums(at_a);
    for (const Event& event : events) {
      now.cross += event.cross;
      now.square += event.square;
      take(now);
    }
  }

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  const SortedWeights& weights_;
  std::vector<double> entries_, middles_;
  double total_ = 0;  // sum h w^2
  Sums best_;
};

}  // namespace

double best_scale(const SortedWeights& weights, std::span<const float> entries) {
  return ScaleSearch(weights, entries).solve();
}

}  // namespace tessera::quant
