// Random kernels, AVX-512.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx512-inl.h"

#include "ops/random/body-inl.h"

extern "C" const tessera::RandomKernels tessera::tessera_random_avx512 = {"avx512", uniform};

#endif
