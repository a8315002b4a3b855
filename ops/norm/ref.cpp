// Normalization loops, portable.
#include "ops/norm/body-inl.h"

extern "C" const tessera::NormKernels tessera::tessera_norm_ref = norm_kernels("ref");
