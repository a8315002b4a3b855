// Normalization loops, AVX-512.
#if defined(__x86_64__)

#include "ops/norm/body-inl.h"

extern "C" const tessera::NormKernels tessera::tessera_norm_avx512 = norm_kernels("avx512");

#endif
