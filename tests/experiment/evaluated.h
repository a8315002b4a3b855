// What classifiers are measured as, without one.
#pragma once

#include <cstdint>

#include "core/text.h"
#include "nn/task.h"

namespace tessera::experiment::testing {

inline nn::Evaluation evaluated(std::int64_t correct, std::int64_t samples, double loss = 0) {
  const double error = 100 * (1 - static_cast<double>(correct) / static_cast<double>(samples));
  nn::Metric right{"correct", static_cast<double>(correct), "", false, 0};
  right.count = true;
  return {samples,
          {{"error", error, "%", true, 2, cat(correct, " of ", samples, " correct")},
           {"loss", loss, "", true, 4},
           right}};
}

}  // namespace tessera::experiment::testing
