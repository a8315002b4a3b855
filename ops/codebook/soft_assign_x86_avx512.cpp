// Soft assignment, AVX-512.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx512-inl.h"

#include "ops/codebook/soft_assign-inl.h"

extern "C" const tessera::SoftAssignKernels tessera::tessera_soft_assign_avx512 = {
    "avx512", forward, backward};

#endif
