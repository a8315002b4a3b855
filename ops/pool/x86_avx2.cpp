// Pooling loops, AVX2.
#if defined(__x86_64__)

#include "ops/pool/body-inl.h"

extern "C" const tessera::PoolKernels tessera::tessera_pool_avx2 = pool_kernels("avx2");

#endif
