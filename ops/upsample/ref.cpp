// Upsampling loops, portable.
#include "ops/upsample/body-inl.h"

extern "C" const tessera::UpsampleKernels tessera::tessera_upsample_ref = upsample_kernels("ref");
