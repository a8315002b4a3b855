// Loops over sparse weights, AVX-512.
#if defined(__x86_64__)

#include "ops/sparse/body-inl.h"

extern "C" const tessera::SparseKernels tessera::tessera_sparse_avx512 = sparse_kernels();

#endif
