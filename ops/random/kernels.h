// Random kernels: plain structs between random.cpp and the files compiled with wide instructions.
#pragma once

#include <stdint.h>

namespace tessera {

struct RandomKernels {
  const char* name;
  // out[i] = uniform in [0, 1) number first + i of the stream (core/rng.h uniform_at); first is a
  // multiple of 4.
  void (*uniform)(uint64_t key, uint64_t stream, int64_t first, int64_t n, float* out);
};

extern "C" const RandomKernels tessera_random_ref;
#if defined(__x86_64__)
extern "C" const RandomKernels tessera_random_avx2;
extern "C" const RandomKernels tessera_random_avx512;
#endif

}  // namespace tessera
