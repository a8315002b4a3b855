// Kernel rows shared by sum, max and sum_to.
#pragma once

#include "core/op_def.h"
#include "ops/reduce/kernels.h"

namespace tessera {

// A plan that reduces `axes` of input 0 into output 0.
KernelPlan plan_reduce(const KernelQuery& query, const Ints& axes, ReduceKind kind,
                       const ReduceKernels& kernels);

const ReduceKernels& reduce_kernels(CpuFeatures features);

}  // namespace tessera
