// Normalization loops, AVX2.
#if defined(__x86_64__)

#include "ops/norm/body-inl.h"

extern "C" const tessera::NormKernels tessera::tessera_norm_avx2 = norm_kernels("avx2");

#endif
