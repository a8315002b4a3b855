// Reduction kernels: plain structs between reduce_rows.cpp and the files compiled with wide
// instruction sets. All of them run the same plain loops, so the bits are the same everywhere.
#pragma once

#include <stdint.h>

namespace tessera {

enum class ReduceKind : int { sum, max };

struct ReduceKernels {
  const char* name;
  // out[0] = reduction of x[0..n), in 64 interleaved f32 accumulators joined by a fixed tree.
  void (*line[2])(const float* x, int64_t n, float* out);
  // out[c] = reduction over r of x[r * ld + c], in f32, r in order; rows >= 1.
  void (*columns[2])(const float* x, int64_t rows, int64_t cols, int64_t ld, float* out);
};

extern "C" const ReduceKernels tessera_reduce_ref;
#if defined(__x86_64__)
extern "C" const ReduceKernels tessera_reduce_avx2;
extern "C" const ReduceKernels tessera_reduce_avx512;
#endif

}  // namespace tessera
