// Figures over repeated measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace tessera::experiment {

inline double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// Of the mean, from the sample's own spread; 0 for fewer than two values.
inline double standard_error(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double m = mean(values), n = static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - m) * (v - m);
  return std::sqrt(squares / (n - 1) / n);
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

// The value below which a share `q` of them lies; the largest for q = 1.
inline double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  const auto last = static_cast<double>(values.size() - 1);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::ceil(q * last));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// What repeated measurements of one time say, in their unit. Other work on the machine, clocks and
// the placement of memory make times longer, never shorter: of several rounds the fastest is what
// the program takes.
struct Timing {
  double least = 0;   // of the rounds' medians
  double median = 0;  // of the rounds' medians
  double slow = 0;    // largest of the rounds' 90th percentiles

  // Whether a tenth of some round took half as long again as the fastest round: then there are two
  // kinds of runs, and no one figure tells what the next one takes.
  bool unstable() const { return slow > 1.5 * least; }
};

// Each round holds at least one time.
inline Timing timing_of(const std::vector<std::vector<double>>& rounds) {
  Timing out;
  std::vector<double> medians;
  for (const auto& times : rounds) {
    medians.push_back(median(times));
    out.slow = std::max(out.slow, quantile(times, 0.9));
  }
  if (medians.empty()) return out;
  out.least = *std::min_element(medians.begin(), medians.end());
  out.median = median(medians);
  return out;
}

// Of the same work measured several times, as more rounds of one.
inline Timing together(const std::vector<Timing>& timings) {
  Timing out;
  std::vector<double> medians;
  for (const Timing& t : timings) {
    out.least = medians.empty() ? t.least : std::min(out.least, t.least);
    out.slow = std::max(out.slow, t.slow);
    medians.push_back(t.median);
  }
  out.median = median(medians);
  return out;
}

}  // namespace tessera::experiment
