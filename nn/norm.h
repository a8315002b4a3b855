// Batch normalization (Ioffe & Szegedy 2015, algorithms 1 and 2).
#pragma once

#include <cstdint>

#include "nn/module.h"

namespace tessera::nn {

struct BatchNorm2dOptions {
  double momentum = 0.1;  // share of the batch in the running statistics
  double epsilon = 1e-5;
  Init weight_init = Init::constant(1);
};

// Per channel of x f32 [n, channels, ...]: weight * (x - mean) / sqrt(variance + epsilon) + bias.
// Training normalizes by the batch (variance: mean squared deviation) and moves the states
// running_mean and running_var, the latter by the unbiased variance, as PyTorch; inference
// normalizes by those. Parameters weight and bias start at 1 and 0, as do the states' variance and
// mean.
class BatchNorm2d final : public Module {
 public:
  explicit BatchNorm2d(std::int64_t channels, BatchNorm2dOptions options = {});
  Value forward(Scope& scope, Value x) const override;

 private:
  std::int64_t channels_;
  BatchNorm2dOptions options_;
};

}  // namespace tessera::nn
