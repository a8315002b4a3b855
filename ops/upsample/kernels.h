// Enlarging one plane: a channel ([h, w]) or a block of sixteen channels ([h, w, 16]).
#pragma once

#include <stdint.h>

namespace tessera {

// Along one axis: an output takes share0 of the source at first and share1 of the one at second.
struct UpsampleTap {
  int64_t first, second;
  float share0, share1;
};

struct UpsamplePlane {
  int64_t h, w, factor;        // of the small side
  const UpsampleTap* rows;     // of h * factor outputs
  const UpsampleTap* columns;  // of w * factor outputs
};

// [0]: one channel, [1]: a block of sixteen. Backward functions write all of dx.
struct UpsampleKernels {
  const char* name;
  void (*nearest_forward[2])(const UpsamplePlane& p, const float* x, float* y);
  void (*nearest_backward[2])(const UpsamplePlane& p, const float* dy, float* dx);
  void (*bilinear_forward[2])(const UpsamplePlane& p, const float* x, float* y);
  void (*bilinear_backward[2])(const UpsamplePlane& p, const float* dy, float* dx);
};

extern "C" const UpsampleKernels tessera_upsample_ref;
#if defined(__x86_64__)
extern "C" const UpsampleKernels tessera_upsample_avx2;
extern "C" const UpsampleKernels tessera_upsample_avx512;
#endif

}  // namespace tessera
