// Samples without a file, for measurements of speed.
#pragma once

#include "experiment/task.h"

namespace tessera::experiment {

inline constexpr const char* kRandomData = "random";  // --data of bench

// Random samples of the task's fields (datasets/random_samples.h).
Data random_data(std::shared_ptr<const nn::Task> task, std::int64_t samples);

}  // namespace tessera::experiment
