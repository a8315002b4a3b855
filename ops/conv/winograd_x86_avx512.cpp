// Winograd transforms, AVX-512.
#if defined(__x86_64__)

#include "ops/conv/winograd-inl.h"

extern "C" const tessera::WinogradKernels tessera::tessera_winograd_avx512 =
    winograd_kernels("avx512");

#endif
