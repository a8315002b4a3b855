// Parallel ascending sort of floats, optionally carrying a second array along.
#pragma once

#include <span>

namespace tessera::quant {

// Writes the values ascending into `sorted` and, where `carried` is not empty, each value's
// companion to the same place of `sorted_carried`. All non-empty spans have equal length (< 2^32);
// values are finite. Stable, and the same for any number of threads. Takes scratch memory as large
// as the output.
//
// One pass spreads the values over buckets (by value, equal widths between two sample quantiles, so
// a weight distribution fills them evenly), then each bucket is radix-sorted inside the L2 cache:
// two trips through memory instead of the three of a least-significant-digit radix sort. Values
// that crowd into few buckets (far outliers) cost parallelism, never correctness.
void sort_floats(std::span<const float> values, std::span<const float> carried,
                 std::span<float> sorted, std::span<float> sorted_carried);

}  // namespace tessera::quant
