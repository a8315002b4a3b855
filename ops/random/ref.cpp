// Random kernels, portable.
#include "ops/random/body-inl.h"

extern "C" const tessera::RandomKernels tessera::tessera_random_ref = {"ref", uniform};
