// How the inputs that a layer multiplies its weights with vary together: what an error of a weight
// costs at the layer's output.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/calibrate/layers.h"

namespace tessera::quant {

// The weights of some rows and columns of a layer's weight, as a matrix of its rows, and the second
// moments of their inputs: an error d f32[rows, cols] there costs tr(d H d') at the output. Parts
// tile the weight: one for each group of a convolution.
struct InputMoments {
  std::int64_t row = 0, rows = 0, column = 0, columns = 0;
  std::vector<float> moments;  // H f32[columns, columns], symmetric, mean over what was seen
};

// Inputs of wider layers are taken in parts of equal width as if those were independent: H is no
// larger than this.
inline constexpr std::int64_t kMostColumns = 4608;

// Over all samples, of what all readers of the layer's weight see in a network with these weights.
// Convolutions see every position. Throws Error where the input is not finite.
std::vector<InputMoments> input_moments(const Layer& layer, const State& state,
                                        const CalibrationSet& samples);

}  // namespace tessera::quant
