#include "report/html/axis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace tessera::experiment {

namespace {

constexpr double kMost = 1e150, kLeast = 1e-150;  // of what can be drawn
constexpr double kMargin = 0.04;      // share of the scale that stays free at either end
constexpr double kLeastLog = 2;       // ratio that a logarithmic scale covers at least
constexpr double kLeastWidth = 1e-6;  // of a linear scale, by its values
constexpr double kFewDecades = 3;     // up to which every digit has a line

// The smallest of 1, 2, 5 times a power of ten that is at least `value`.
double round_up(double value) {
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double m : {1.0, 2.0, 5.0}) {
    if (m * power >= value * (1 - 1e-9)) return m * power;
  }
  return 10 * power;
}

// Multiples of a round step, of which at most `count` lie in the scale.
std::vector<Tick> even_ticks(const Scale& scale, int count) {
  std::vector<Tick> out;
  const double step = round_up((scale.high - scale.low) / count);
  const double largest = std::max(std::abs(scale.low), std::abs(scale.high));
  const int digits = std::clamp(static_cast<int>(std::ceil(std::log10(largest / step))) + 1, 3, 15);
  const double first = std::ceil(scale.low / step - 1e-6);
  for (int i = 0; i <= count; ++i) {
    const double value = (first + i) * step;
    if (value > scale.high + 1e-6 * step) break;
    out.push_back({value, short_number(value, digits)});
  }
  return out;
}

// Powers of ten times each of `digits`; of several powers only every `every`th.
std::vector<Tick> power_ticks(const Scale& scale, const std::vector<double>& digits, int every) {
  std::vector<Tick> out;
  const int last = static_cast<int>(std::ceil(std::log10(scale.high)));
  for (int p = static_cast<int>(std::floor(std::log10(scale.low))); p <= last; ++p) {
    if (p % every != 0) continue;
    for (const double m : digits) {
      const double value = m * std::pow(10, p);
      if (value < scale.low * (1 - 1e-9) || value > scale.high * (1 + 1e-9)) continue;
      out.push_back({value, short_number(value)});
    }
  }
  return out;
}

}  // namespace

bool drawable(double value, bool log) {
  return std::isfinite(value) && std::abs(value) <= kMost && (!log || value >= kLeast);
}

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
    const double decades = std::max(std::log10(high / low), std::log10(kLeastLog));
    const double middle = 0.5 * (std::log10(low) + std::log10(high));
    const double half = (0.5 + kMargin) * decades;
    return {std::pow(10, middle - half), std::pow(10, middle + half), true};
  }
  if (from_zero || (low > 0 && low < 0.4 * high)) low = std::min(low, 0.0);
  if (from_zero) high = std::max(high, 0.0);
  const double largest = std::max(std::abs(low), std::abs(high));
  if (largest < kLeast) return {0, 1, false};
  if (high - low < kLeastWidth * largest) return {low - 0.1 * largest, high + 0.1 * largest, false};
  const double margin = kMargin * (high - low);
  return {low == 0 ? 0 : low - margin, high == 0 ? 0 : high + margin, false};
}

bool spread_wide(const std::vector<double>& values, double ratio) {
  double low = INFINITY, high = 0;
  for (const double v : values) {
    if (!std::isfinite(v)) continue;
    if (v <= 0) return false;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  return high > ratio * low;
}

std::vector<Tick> ticks(const Scale& scale, double length,
                        const std::function<double(const std::string&)>& room) {
  if (!drawable(scale.low, scale.log) || !drawable(scale.high, scale.log)) return {};
  if (scale.high - scale.low < std::max(kLeast, 1e-12 * std::abs(scale.high))) return {};
  const auto fits = [&](const std::vector<Tick>& some) {
    for (std::size_t i = 1; i < some.size(); ++i) {
      const double apart = length * (scale.at(some[i].value) - scale.at(some[i - 1].value));
      if (apart < 0.5 * (room(some[i - 1].text) + room(some[i].text))) return false;
    }
    return true;
  };
  // The widest stretch of the axis without a label.
  const auto widest = [&](const std::vector<Tick>& some) {
    double out = 0, last = 0;
    for (const Tick& tick : some) {
      out = std::max(out, scale.at(tick.value) - last);
      last = scale.at(tick.value);
    }
    return std::max(out, 1 - last);
  };
  std::vector<Tick> best;
  const auto consider = [&](std::vector<Tick> some) {
    if (!some.empty() && fits(some) && (best.empty() || widest(some) < widest(best) - 1e-9)) {
      best = std::move(some);
    }
  };
  const double decades = scale.log ? std::log10(scale.high / scale.low) : 0;
  if (decades <= 1) {
    for (const int count : {12, 10, 8, 6, 5, 4, 3, 2}) consider(even_ticks(scale, count));
  }
  if (!scale.log) return best;
  for (const auto& digits : {std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9},
                             {1, 1.5, 2, 3, 4, 5, 7},
                             {1, 2, 3, 5, 7},
                             {1, 2, 5},
                             {1, 3}}) {
    if (decades <= kFewDecades) consider(power_ticks(scale, digits, 1));
  }
  for (const int every : {1, 2, 3, 5, 10, 20, 50, 100}) consider(power_ticks(scale, {1}, every));
  if (decades > kFewDecades) return best;
  // Lines without labels show that the steps are not even.
  for (Tick& line : power_ticks(scale, {1, 2, 3, 4, 5, 6, 7, 8, 9}, 1)) {
    const bool labelled = std::any_of(best.begin(), best.end(), [&](const Tick& tick) {
      return std::abs(tick.value / line.value - 1) < 1e-9;
    });
    if (!labelled) best.push_back({line.value, ""});
  }
  return best;
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

}  // namespace tessera::experiment
