// Random kernels, AVX2.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx2-inl.h"

#include "ops/random/body-inl.h"

extern "C" const tessera::RandomKernels tessera::tessera_random_avx2 = {"avx2", uniform};

#endif
