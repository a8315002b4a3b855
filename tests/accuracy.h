// The share of samples that a classifier is right about.
#pragma once

#include "nn/task.h"

namespace tessera::testing {

inline double accuracy(const nn::Evaluation& evaluation) {
  return evaluation.value("correct") / static_cast<double>(evaluation.samples);
}

}  // namespace tessera::testing
