// Exact one-dimensional k-means: the globally best adaptive codebook.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "quant/fit/sorted.h"

namespace tessera::quant {

struct KmeansOptions {
  // Search nodes kept at once, 20 bytes each. Where the bounds leave more than that, the rest is
  // solved in memory linear in the weights, at twice the arithmetic.
  std::size_t max_nodes = std::size_t{1} << 22;
};

struct KmeansStats {
  std::size_t nodes = 0;       // search nodes looked at, all levels
  bool linear_memory = false;  // the second stage was needed
};

// The entries (ascending, at most k of them) minimizing sum h (w - nearest entry)^2 over all
// codebooks of k values; the distinct values where there are at most k. k in 1..256. `start`:
// entries of an earlier fit, may be empty; they only save time, never change what is optimal.
//
// Optimal means: no codebook is better by more than (K + 8) 1e-15 of the weights' total spread,
// which is what f64 moments can tell; then entries are rounded to f32. Time O(n log n) for the sort
// plus a search that in practice looks at some K^2 positions for each factor 4 of n / K; worst case
// O(K n log n) arithmetic.
// Memory beyond the sorted weights: O(n), in practice far less.
//
// Method: an optimal cluster is a range of the sorted weights (Fisher 1958; Wang & Song 2011), so a
// codebook is a path of K - 1 boundaries; range costs obey the quadrangle inequality (Wu 1991;
// Gronlund et al. 2017, arXiv 1701.07204, lemma 1), so divide and conquer finds all row minima of a
// DP layer in O(n log n). Branch and bound makes n small; kmeans1d.cpp has the proof.
std::vector<float> exact_kmeans(const SortedWeights& weights, std::size_t k,
                                std::span<const float> start = {}, KmeansOptions options = {},
                                KmeansStats* stats = nullptr);

}  // namespace tessera::quant
