// Reduction loops, portable.
#include "ops/reduce/body-inl.h"

extern "C" const tessera::ReduceKernels tessera::tessera_reduce_ref = reduce_kernels("ref");
