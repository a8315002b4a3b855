// Pooling loops, portable.
#include "ops/pool/body-inl.h"

extern "C" const tessera::PoolKernels tessera::tessera_pool_ref = pool_kernels("ref");
