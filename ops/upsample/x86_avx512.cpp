// Upsampling loops, AVX-512.
#if defined(__x86_64__)

#include "ops/upsample/body-inl.h"

extern "C" const tessera::UpsampleKernels tessera::tessera_upsample_avx512 =
    upsample_kernels("avx512");

#endif
