// Elementwise vector functions, AVX-512.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx512-inl.h"

#include "ops/elementwise/body-inl.h"

extern "C" const tessera::ElementwiseKernels tessera::tessera_elementwise_avx512 =
    elementwise_kernels("avx512");

#endif
