// What it costs to code each tensor of a network in each way: the input of allocate().
#pragma once

#include <vector>

#include "core/named.h"
#include "quant/calibrate/calibration.h"
#include "quant/calibrate/fisher.h"
#include "quant/plan/allocate.h"

namespace tessera::quant {

// The ways to code every tensor of a policy, costs still 0: adaptive codebooks of 2, 4, ..., 256
// entries, as far as a group has as many weights, for what the policy's default covers (its
// depthwise preset makes the groups as large as each codebook needs); the one choice of the policy
// for tensors that a rule or a preset names. Tensors that stay dense are not listed. `policy` is
// otherwise as plan_compression() takes it; its `weights.spec` is not looked at.
std::vector<CandidateTensor> candidates(const std::vector<nn::ParameterSpec>& parameters,
                                        const State& state, const Policy& policy);

// Fills in costs by direct compression of one tensor at a time:
//   loss:   the rise of the mean loss on `samples` (one forward pass of all samples for
//           each candidate)
//   fisher: 1/2 sum h (w - q)^2, h the Fisher information on `samples` (one forward and backward
//           pass for all candidates together)
// Returns the loss of the dense network on the samples.
enum class Sensitivity { loss, fisher };
const Names<Sensitivity>& sensitivities();
double measure_costs(std::vector<CandidateTensor>& tensors, const Graph& inference,
                     std::shared_ptr<const nn::Task> task, const State& state,
                     const CalibrationSet& samples, Sensitivity kind);

}  // namespace tessera::quant
