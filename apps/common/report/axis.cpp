#include "apps/common/report/axis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace tessera::apps {

namespace {

constexpr double kMargin = 0.04;  // share of the scale that stays free at either end
constexpr double kWide = 30;      // ratio from which on a scale is better logarithmic
constexpr double kLeastLog = 2;   // ratio that a logarithmic scale covers at least

bool drawable(double value, bool log) {
  return std::isfinite(value) && (!log || value > 0);
}

// The smallest of 1, 2, 5 times a power of ten that is at least `value`.
double round_up(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double m : {1.0, 2.0, 5.0}) {
    if (m * power >= value * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

std::vector<Tick> linear_ticks(const Scale& scale, int count) {
  std::vector<Tick> out;
  const double step = round_up((scale.high - scale.low) / count);
  const auto first = static_cast<long long>(std::ceil(scale.low / step - 1e-6));
  const auto last = static_cast<long long>(std::floor(scale.high / step + 1e-6));
  for (long long i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * step;
    out.push_back({value, short_number(value, 4)});
  }
  return out;
}

std::vector<Tick> log_ticks(const Scale& scale, int count) {
  const double decades = std::log10(scale.high / scale.low);
  // Labels on 1, 2 and 5 where there is room, then on every power, then on every few.
  const bool fine = 3 * decades <= count + 1;
  const int every = std::max(1, static_cast<int>(std::ceil(decades / count)));
  std::vector<Tick> out;
  for (int p = static_cast<int>(std::floor(std::log10(scale.low)));
       p <= static_cast<int>(std::ceil(std::log10(scale.high))); ++p) {
    for (const int m : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
      const double value = m * std::pow(10, p);
      if (value < scale.low * (1 - 1e-9) || value > scale.high * (1 + 1e-9)) continue;
      const bool labelled = m == 1 ? p % every == 0 : fine && (m == 2 || m == 5);
      if (labelled || decades < 3) out.push_back({value, labelled ? short_number(value) : ""});
    }
  }
  return out;
}

}  // namespace

double Scale::at(double value) const {
  return log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
}

Scale fit_scale(const std::vector<double>& values, bool log, bool from_zero) {
  Scale out{log ? 1.0 : 0.0, log ? 10.0 : 1.0, log};
  double low = INFINITY, high = -INFINITY;
  for (const double v : values) {
    if (!drawable(v, log)) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  if (low > high) return out;
  if (log) {
    const double ratio = std::max(high / low, kLeastLog);
    const double middle = std::sqrt(low) * std::sqrt(high);
    const double half = std::sqrt(ratio) * std::pow(ratio, kMargin);
    return {middle / half, middle * half, true};
  }
  if (from_zero || (low > 0 && low < 0.4 * high)) low = std::min(low, 0.0);
  if (low == high) {
    const double half = low == 0 ? 1 : std::abs(low) * 0.1;
    return {low - (low == 0 ? 0 : half), high + half, false};
  }
  const double margin = kMargin * (high - low);
  return {low == 0 ? 0 : low - margin, high + margin, false};
}

bool spread_wide(const std::vector<double>& values) {
  double low = INFINITY, high = 0;
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    if (v <= 0) return false;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  return high > kWide * low;
}

std::vector<Tick> ticks(const Scale& scale, int count) {
  return scale.log ? log_ticks(scale, count) : linear_ticks(scale, count);
}

std::string short_number(double value, int digits) {
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), "%.*g", digits, value == 0 ? 0.0 : value);
  std::string out = buffer;
  // 1.5e+04 reads worse than 15000.
  if (std::abs(value) >= 1 && std::abs(value) < 1e6 && out.find('e') != std::string::npos) {
    std::snprintf(buffer, sizeof(buffer), "%.0f", value);
    out = buffer;
  }
  return out;
}

}  // namespace tessera::apps
