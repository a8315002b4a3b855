// Lines of pixels, portable.
#include "ops/conv/lines-inl.h"

extern "C" const tessera::LineKernels tessera::tessera_line_ref = line_kernels("ref");
