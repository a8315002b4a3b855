// What several losses weigh in a step, from the inner products of their gradients: small quadratic
// programs, k losses, G the k x k matrix of inner products, p a preference for each. All of them
// give weights w; the step goes along sum_i w_i g_i. The gradients themselves are never needed
// (Quinton & Rey 2024, "Jacobian descent", arXiv 2406.16232, section 6).
#pragma once

#include <array>
#include <span>

#include "core/named.h"

namespace tessera {

inline constexpr int kMostLosses = 8;

enum class GramianRule {
  mgda,      // the shortest combination a_i p_i g_i, a >= 0, sum a = 1 (Desideri 2012;
             // Sener & Koltun 2018, eq. 4)
  upgrad,    // each p_i g_i projected into the cone of directions in which no loss rises, and the
             // sum (Quinton & Rey 2024, eq. 5)
  dualproj,  // their sum projected there (Lopez-Paz & Ranzato 2017, eq. 8)
  pcgrad,  // each p_i g_i with what opposes another gradient taken off, in an order that is drawn,
           // and the sum (Yu et al. 2020, algorithm 1)
  cagrad,  // near the sum, the direction in which the loss that gains least gains most
           // (Liu et al. 2021, eq. 4)
};
const Names<GramianRule>& gramian_rules();

using LossVector = std::array<double, kMostLosses>;
struct LossMatrix {
  int k = 0;
  std::array<double, kMostLosses* kMostLosses> v = {};
  double& operator()(int i, int j) { return v[static_cast<std::size_t>(i * k + j)]; }
  double operator()(int i, int j) const { return v[static_cast<std::size_t>(i * k + j)]; }
};

// argmin over x >= 0 of x'Ax / 2 - d'x for a symmetric positive definite A: Lawson & Hanson's
// active sets on the normal equations (Bro & De Jong 1997).
LossVector nonnegative_minimum(const LossMatrix& a, const LossVector& d);

// `order` ranks the losses for pcgrad: row i is the order, by rising value, in which gradient i
// meets the others. `c`: how far cagrad may go from the sum, as a share of its length. A loss whose
// gradient is 0 keeps its preference and has no part in the others'. Weights are NaN where G is not
// finite.
LossVector loss_weights(GramianRule how, const LossMatrix& gramian, const LossVector& preference,
                        const LossMatrix& order, double c);

}  // namespace tessera
