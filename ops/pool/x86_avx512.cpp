// Pooling loops, AVX-512.
#if defined(__x86_64__)

#include "ops/pool/body-inl.h"

extern "C" const tessera::PoolKernels tessera::tessera_pool_avx512 = pool_kernels("avx512");

#endif
