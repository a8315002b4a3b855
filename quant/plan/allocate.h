// How many bits each tensor gets, so that the loss rises least for a given size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/plan/policy.h"

namespace tessera::quant {

// One way to code a tensor.
struct Candidate {
  TensorChoice choice;
  int bits = 0;            // of an index
  std::int64_t bytes = 0;  // of its planes: indices and codebooks
  double cost = 0;         // how much the loss rises when only this tensor is coded so
};

// A tensor and the ways to code it, of which one must be chosen; ascending in bits.
struct CandidateTensor {
  std::string name;
  std::int64_t weights = 0;
  std::vector<Candidate> candidates;
};

// One candidate for every tensor.
struct Allocation {
  std::vector<std::size_t> chosen;  // position in CandidateTensor::candidates
  std::int64_t bytes = 0;
  double cost = 0;
  // No allocation of at most the asked bytes costs less than this (the Lagrangian dual).
  double least_cost = 0;

  double bits_per_weight(const std::vector<CandidateTensor>& tensors) const;
};

// Minimizes the sum of costs subject to sum of bytes <= budget: bisection on lambda of
// min sum (cost + lambda bytes), which each tensor's lower convex hull decides by itself, then what
// is left of the budget goes to the upgrades that gain most per byte. (Shoham & Gersho, "Efficient
// bit allocation for an arbitrary set of quantizers", IEEE TASSP 36(9), 1988.) The result is
// optimal where the budget is that of a corner of the hull, and within the cost of one step of one
// tensor of the optimum elsewhere. Throws Error when even the smallest candidates do not fit
// (saying what does), for a tensor without candidates, and for costs that are not finite.
Allocation allocate(const std::vector<CandidateTensor>& tensors, std::int64_t budget_bytes);

// All corners of the lower convex hull of (bytes, cost) of the whole network, from the smallest to
// the cheapest: what allocate() gives for every budget that it can fill.
std::vector<Allocation> pareto(const std::vector<CandidateTensor>& tensors);

// The allocation as rules of a policy, one for each tensor, by its exact name.
std::vector<PolicyRule> rules(const std::vector<CandidateTensor>& tensors,
                              const Allocation& allocation);

// A table: tensor, weights, bits, cost, bytes, and their sums.
std::string text(const std::vector<CandidateTensor>& tensors, const Allocation& allocation);

}  // namespace tessera::quant
