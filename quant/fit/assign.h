// Nearest codebook entry for every weight.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tessera::quant {

// limits[k] such that a weight belongs above entry k exactly when weight > limits[k]: the midpoint
// of entries k and k+1. A weight on the midpoint takes the entry farther from zero, the upper one
// at zero itself, so that sgn(0) = +1 and a ternary 1/2 becomes 1. Decided without rounding error:
// the limit is the float next to the f64 midpoint on the proper side.
std::vector<float> cell_limits(std::span<const float> entries);

struct AssignResult {
  double error = 0;          // sum h (w - entry)^2
  std::int64_t changed = 0;  // indices that differ from `previous`; 0 when that is empty
};

// indices[i] = the entry nearest to weights[i]; entries ascending, 1..256 of them. importance and
// previous may be empty. `previous` may be the same memory as `indices`. f64 sums over fixed
// chunks: the same bits for any number of threads.
AssignResult assign_nearest(std::span<const float> entries, std::span<const float> weights,
                            std::span<const float> importance,
                            std::span<const std::uint8_t> previous,
                            std::span<std::uint8_t> indices);

}  // namespace tessera::quant
