// Loops over sparse weights, portable.
#include "ops/sparse/body-inl.h"

extern "C" const tessera::SparseKernels tessera::tessera_sparse_ref = sparse_kernels();
