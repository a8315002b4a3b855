// Reduction loops, AVX-512.
#if defined(__x86_64__)

#include "ops/reduce/body-inl.h"

extern "C" const tessera::ReduceKernels tessera::tessera_reduce_avx512 = reduce_kernels("avx512");

#endif
