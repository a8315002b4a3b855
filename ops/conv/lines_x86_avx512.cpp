// Lines of pixels, AVX-512.
#if defined(__x86_64__)

#include "ops/conv/lines-inl.h"

extern "C" const tessera::LineKernels tessera::tessera_line_avx512 = line_kernels("avx512");

#endif
