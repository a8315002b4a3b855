// Register tiles of convolutions on blocked images: plain structs between block_rows.cpp and the
// files compiled with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

inline constexpr int kBlockMaxRows = 14, kBlockMaxVectors = 8;

// c[r * c_rs + v * c_vs + lane] = sum over pieces p and k < 16 of
//   a[a_at[p] + r * a_rs + k] * b[b_at[p] + k * b_ks + 16 v + lane],
// in f32, in the order of the pieces.
struct BlockTile {
  const float* a;
  const int64_t* a_at;
  int64_t a_rs;
  const float* b;
  const int64_t* b_at;
  int64_t b_ks;
  int64_t pieces;
  float* c;
  int64_t c_rs, c_vs;
  int32_t accumulate;  // add to what c holds
};

struct BlockKernels {
  // tile[rows - 1][vectors - 1]; null where it would not fit the registers.
  void (*tile[kBlockMaxRows][kBlockMaxVectors])(const BlockTile&);
};

#if defined(__x86_64__)
extern "C" const BlockKernels tessera_block_avx512;
#endif

}  // namespace tessera
