// Copies of short lines of pixels, which patches are made of.
#pragma once

#include <stdint.h>

namespace tessera {

struct LineKernels {
  const char* name;
  // `lines` lines of `width` floats from rows `from_ld` apart to one after the other, and the sums
  // the other way.
  void (*gather)(const float* from, int64_t from_ld, int64_t lines, int64_t width, float* to);
  void (*scatter_add)(const float* from, int64_t lines, int64_t width, float* to, int64_t to_ld);
};

extern "C" const LineKernels tessera_line_ref;
#if defined(__x86_64__)
extern "C" const LineKernels tessera_line_avx2;
extern "C" const LineKernels tessera_line_avx512;
#endif

}  // namespace tessera
