// Softmax row kernels, AVX2.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx2-inl.h"

#include "ops/softmax/body-inl.h"

extern "C" const tessera::SoftmaxKernels tessera::tessera_softmax_avx2 = {
    "avx2", softmax, log_softmax, scale, log_sum_exp};

#endif
