// Elementwise vector functions, AVX2.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx2-inl.h"

#include "ops/elementwise/body-inl.h"

extern "C" const tessera::ElementwiseKernels tessera::tessera_elementwise_avx2 =
    elementwise_kernels("avx2");

#endif
