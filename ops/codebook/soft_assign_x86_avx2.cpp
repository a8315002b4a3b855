// Soft assignment, AVX2.
#if defined(__x86_64__)

#include "ops/vector/lanes_avx2-inl.h"

#include "ops/codebook/soft_assign-inl.h"

extern "C" const tessera::SoftAssignKernels tessera::tessera_soft_assign_avx2 = {"avx2", forward,
                                                                                 backward};

#endif
