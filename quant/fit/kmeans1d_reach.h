// How far the clusters of an optimal codebook can extend: a bound that needs no search.
#pragma once

#include <cstddef>
#include <vector>

#include "quant/fit/sorted.h"

namespace tessera::quant {

// The least error OPT(K) is convex in K, because range costs obey the quadrangle inequality
// (Aggarwal, Schieber & Tokuyama 1994; Gronlund et al. 2017). So with any codebook of m < K entries
// and error U_m, and a lower bound L of OPT(K),
//     OPT(K) - OPT(K + 1) <= OPT(K - 1) - OPT(K) <= (U_m - L) / (K - m) =: most_gain,
// and no cluster of the optimum can be split in two with a gain above that. The gain of a split,
// m1 m2 / (m1 + m2) (mean2 - mean1)^2, grows with the range to both sides, so a cluster cannot
// contain a range that is too good to split. Worked out on an even grid of positions.
class ClusterReach {
 public:
  ClusterReach(const SortedWeights& weights, std::size_t grid);

  void limit_gain(double most_gain);

  // At most k values spread with the cube root of the density, which is asymptotically optimal
  // (Panter & Dite 1951): where a search starts. Ascending.
  std::vector<float> spread_entries(std::size_t k) const;

  // Least mean of a cluster that ends at position p; greatest mean of one that begins there.
  double least_mean_before(std::size_t p) const { return least_before_[p / step_]; }
  double greatest_mean_after(std::size_t p) const {
    return greatest_after_[(p + step_ - 1) / step_];
  }

 private:
  const SortedWeights& weights_;
  std::size_t step_;
  std::vector<Moments> below_;  // at positions 0, step, 2 step, ..., size
  std::vector<double> least_before_, greatest_after_;
};

}  // namespace tessera::quant
