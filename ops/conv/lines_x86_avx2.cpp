// Lines of pixels, AVX2.
#if defined(__x86_64__)

#include "ops/conv/lines-inl.h"

extern "C" const tessera::LineKernels tessera::tessera_line_avx2 = line_kernels("avx2");

#endif
