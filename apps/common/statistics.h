// Figures over repeated measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace tessera::apps {

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

}  // namespace tessera::apps
