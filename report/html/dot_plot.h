// Values by name, one row each: for reading off and ranking what lies close together.
#pragma once

#include <string>
#include <vector>

namespace tessera::experiment {

struct DotRow {
  std::string name;
  int series = 0;
  double value = 0, half = 0;  // half of the error bar; 0: none
};

// Where an axis that begins at `base` ends, above it or, where higher is better, below, so that
// what is close to it can be told apart: beyond four times the distance of the nearest quarter of
// `values`. The largest of them when it is not much further away than that.
double near_limit(const std::vector<double>& values, double base, bool lower_is_better = true);

// The rows from the best value to the worst, each with its value as text; what lies beyond
// near_limit() is an arrow at the edge. A dashed line at `reference`. An SVG.
std::string dot_plot(std::vector<DotRow> rows, double reference, const std::string& x_label,
                     const std::string& about, bool lower_is_better = true);

}  // namespace tessera::experiment
