// What the graph of a training step and the trainer that runs it agree on.
#pragma once

#include <string>
#include <vector>

#include "core/fields.h"
#include "nn/objective.h"

namespace tessera::nn {

inline constexpr const char* kUpdates = "optimizer.updates";  // Optimizer::counts
std::string moment_name(const std::string& parameter, const std::string& moment);
// Outputs of the step: of a term, and of what weighs the losses.
std::string term_output(const TermNodes& term, const char* what);
std::string weighting_output(const std::string& name);
// Inputs and outputs of the step of several ranks: what one wants, and whether any does.
inline constexpr const char *kStopVote = "ranks.stop", *kSaveVote = "ranks.save";
// What a step may ask of a batch.
std::vector<Field> step_fields(const Task& task);

}  // namespace tessera::nn
