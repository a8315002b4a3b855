// Row kernels for a feature set, shared with the losses.
#pragma once

#include "core/cpu.h"
#include "ops/softmax/kernels.h"

namespace tessera {

const SoftmaxKernels& softmax_kernels(CpuFeatures features);

}  // namespace tessera
