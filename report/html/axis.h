// Axes of plots: from values to places, and the ticks between.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tessera::experiment {

// Whether a value has a place on a scale of this kind: finite and within 1e150 (of f32 arithmetic
// everything is), positive and not below 1e-150 when log. Limits and their ratios stay doubles.
bool drawable(double value, bool log);

struct Scale {
  double low = 0, high = 1;
  bool log = false;  // then both are positive

  // 0 at low, 1 at high; outside of them beyond.
  double at(double value) const;
};

// What `values` are drawn on, with a margin: from the smallest to the largest that can be drawn.
// Linear scales begin at 0 when `from_zero`, or when the values come close to it. Without values
// [0, 1], or [1, 10] when log.
Scale fit_scale(const std::vector<double>& values, bool log, bool from_zero = false);

// Whether a logarithmic scale suits: positive values, the largest more than `ratio` times the
// smallest.
bool spread_wide(const std::vector<double>& values, double ratio = 30);

struct Tick {
  double value = 0;
  std::string text;  // "" for a line without a label
};

// As many round values within the scale as have room for their labels on an axis of `length`:
// `room` is what a label takes, the gap to the next one included. None on a scale without an
// extent.
std::vector<Tick> ticks(const Scale& scale, double length,
                        const std::function<double(const std::string&)>& room);

// As short as `digits` significant digits allow: "0.02", "1500", "3e-07".
std::string short_number(double value, int digits = 3);

}  // namespace tessera::experiment
