// Multi-bit binary codes: w ~ sum_b a_b B_b with B_b in {-1, +1}^n (Xu et al. 2018, "Alternating
// multi-bit quantization for recurrent neural networks", arXiv 1802.00150).
#pragma once

#include <span>
#include <vector>

namespace tessera::quant {

// All 2^bits sums of +-a_b, ascending, for the a that make sum h (w - nearest sum)^2 small;
// importance may be empty. bits in 1..8.
//
// One and two bits are exact: the sums are +-p, +-q with p >= q >= 0, so |w| decides, and they are
// its mean, or its best two means. For more the paper's alternation (codes by nearest sum, a by
// least squares), each turn of which lowers the error, runs to its end from several starts: the
// paper's greedy residuals, the result for one bit less with the mean residual added, and evenly
// spaced sums at three scales. The best is a local minimum and no worse than one bit less.
std::vector<float> multibit_entries(std::span<const float> weights,
                                    std::span<const float> importance, int bits);

}  // namespace tessera::quant
