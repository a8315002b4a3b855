// Axes of plots: from values to places, and the ticks between.
#pragma once

#include <string>
#include <vector>

namespace tessera::apps {

struct Scale {
  double low = 0, high = 1;
  bool log = false;  // then both are positive

  // 0 at low, 1 at high; outside of them beyond.
  double at(double value) const;
};

// What `values` are drawn on, with a margin: from the smallest to the largest that can be drawn
// (finite; positive when log). Linear scales begin at 0 when `from_zero`, or when the values come
// close to it. Without values [0, 1], or [1, 10] when log.
Scale fit_scale(const std::vector<double>& values, bool log, bool from_zero = false);

// Whether a logarithmic scale suits: positive values over more than a factor of 30.
bool spread_wide(const std::vector<double>& values);

struct Tick {
  double value = 0;
  std::string text;  // "" for a line without a label
};

// Round values within the scale, about `count` of them labelled: 1, 2 and 5 times powers of ten.
std::vector<Tick> ticks(const Scale& scale, int count);

// As short as `digits` significant digits allow: "0.02", "1500", "3e-07".
std::string short_number(double value, int digits = 3);

}  // namespace tessera::apps
