// The best scale of a fixed codebook.
#pragma once

#include <span>
#include <vector>

#include "quant/fit/sorted.h"

namespace tessera::quant {

// The a >= 0 that minimizes sum h min_k (w - a c_k)^2 over all scales, exactly up to f64 rounding.
// entries: c ascending, finite. 0 where no positive scale beats decoding everything to zero.
// Negative scales are not looked at: a symmetric codebook loses nothing, for others mirror it.
//
// Source: Idelbayev et al., CVPR 2021. The assignment changes only at a = 2 w / (c_k + c_k+1); for
// a given assignment a = S1 / S2 and the error is sum h w^2 - S1^2 / S2, S1 = sum h w c, S2 = sum h
// c^2. Sweeping all breakpoints costs O(N K log K). Here intervals of a are swept only where they
// can hold the optimum: weights that no breakpoint passes in an interval keep their entry, so their
// error at the best a of the interval, plus what the passing weights cost at least, is a lower
// bound.
double best_scale(const SortedWeights& weights, std::span<const float> entries);

}  // namespace tessera::quant
