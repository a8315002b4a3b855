// Reduction loops, AVX2.
#if defined(__x86_64__)

#include "ops/reduce/body-inl.h"

extern "C" const tessera::ReduceKernels tessera::tessera_reduce_avx2 = reduce_kernels("avx2");

#endif
