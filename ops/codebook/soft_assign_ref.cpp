// Soft assignment, plain C on any processor.
#include "ops/vector/lanes_plain-inl.h"

#include "ops/codebook/soft_assign-inl.h"

extern "C" const tessera::SoftAssignKernels tessera::tessera_soft_assign_ref = {"ref", forward,
                                                                                backward};
