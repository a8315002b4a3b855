// Softmax row kernels, AVX-512.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx512-inl.h"

#include "ops/softmax/body-inl.h"

extern "C" const tessera::SoftmaxKernels tessera::tessera_softmax_avx512 = {
    "avx512", softmax, log_softmax, scale, log_sum_exp};

#endif
