// Loops over sparse weights, AVX2.
#if defined(__x86_64__)

#include "ops/sparse/body-inl.h"

extern "C" const tessera::SparseKernels tessera::tessera_sparse_avx2 = sparse_kernels();

#endif
