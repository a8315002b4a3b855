// Upsampling loops, AVX2.
#if defined(__x86_64__)

#include "ops/upsample/body-inl.h"

extern "C" const tessera::UpsampleKernels tessera::tessera_upsample_avx2 = upsample_kernels("avx2");

#endif
