// Pooling of one plane: a channel ([h, w]) or a block of sixteen channels ([h, w, 16]).
#pragma once

#include <stdint.h>

namespace tessera {

struct PoolPlane {
  int64_t h, w, oh, ow, kh, kw, sh, sw, top, left;
  bool count_pad;
};

// [0]: one channel, [1]: a block of sixteen. Backward functions write all of dx.
struct PoolKernels {
  const char* name;
  void (*max_forward[2])(const PoolPlane& p, const float* x, float* y);
  void (*max_backward[2])(const PoolPlane& p, const float* x, const float* dy, float* dx);
  void (*average_forward[2])(const PoolPlane& p, const float* x, float* y);
  void (*average_backward[2])(const PoolPlane& p, const float* dy, float* dx);
};

extern "C" const PoolKernels tessera_pool_ref;
#if defined(__x86_64__)
extern "C" const PoolKernels tessera_pool_avx2;
extern "C" const PoolKernels tessera_pool_avx512;
#endif

}  // namespace tessera
