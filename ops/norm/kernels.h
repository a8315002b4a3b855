// Sums over the pixels of one plane: a channel ([pixels]) or a block of sixteen ([pixels, 16]).
#pragma once

#include <stdint.h>

namespace tessera {

// [0]: one channel, [1]: a block of sixteen; results are one or sixteen floats.
struct NormKernels {
  const char* name;
  // sum (x - shift), sum (x - shift)^2
  void (*moments[2])(const float* x, int64_t pixels, const float* shift, float* sum, float* square);
  // sum dy, sum dy (x - shift)
  void (*products[2])(const float* dy, const float* x, int64_t pixels, const float* shift,
                      float* sum, float* dot);
  // sum x
  void (*sums[2])(const float* x, int64_t pixels, float* sum);
};

extern "C" const NormKernels tessera_norm_ref;
#if defined(__x86_64__)
extern "C" const NormKernels tessera_norm_avx2;
extern "C" const NormKernels tessera_norm_avx512;
#endif

}  // namespace tessera
