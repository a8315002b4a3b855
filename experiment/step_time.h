// How long training will take, before it begins.
#pragma once

#include "experiment/recipe.h"
#include "experiment/task.h"

namespace tessera::experiment {

// Median seconds of some training steps of a method at its start, after a warm-up; 0 for one that
// does not train. What comes between epochs is not in it. Throws Error for what cannot work.
double method_step_seconds(const Task& task, const State& weights, const CompressRecipe& recipe,
                           const std::string& method, const std::string& codebook,
                           std::int64_t group_rows);

// The same of the reference's training.
double reference_step_seconds(const Task& task, const TrainRecipe& recipe);

// Steps of one epoch.
std::int64_t steps_per_epoch(const Task& task, std::int64_t batch);

}  // namespace tessera::experiment
