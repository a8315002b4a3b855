// Register tiles of convolutions for AVX-512. Pixels are rows: a step of k costs a load for every
// sixteen output channels and a broadcast for every pixel.
#include <immintrin.h>

#include "ops/conv/block_kernels.h"

namespace tessera {
namespace {

template <int kRows, int kVectors>
void tile(const BlockTile& t) {
  __m512 acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_setzero_ps();
  const int64_t a_rs = t.a_rs, b_ks = t.b_ks;
  for (int64_t p = 0; p < t.pieces; ++p) {
    const float* a = t.a + t.a_at[p];
    const float* b = t.b + t.b_at[p];
#pragma GCC unroll 2
    for (int k = 0; k < 16; ++k) {
      __m512 bv[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) bv[v] = _mm512_loadu_ps(b + 16 * v);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const __m512 ar = _mm512_set1_ps(a[r * a_rs]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_fmadd_ps(ar, bv[v], acc[r][v]);
      }
      ++a;
      b += b_ks;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* c = t.c + r * t.c_rs + v * t.c_vs;
      const __m512 sum = t.accumulate ? _mm512_add_ps(acc[r][v], _mm512_loadu_ps(c)) : acc[r][v];
      _mm512_storeu_ps(c, sum);
    }
  }
}

template <int kRows, int kVectors>
constexpr auto pick() -> void (*)(const BlockTile&) {
  if constexpr (kVectors * (kRows + 1) + 1 <= 32)
    return tile<kRows, kVectors>;
  else
    return nullptr;
}

#define TESSERA_TILES(rows)                                                              \
  {                                                                                      \
    pick<rows, 1>(), pick<rows, 2>(), pick<rows, 3>(), pick<rows, 4>(), pick<rows, 5>(), \
        pick<rows, 6>(), pick<rows, 7>(), pick<rows, 8>()                                \
  }

}  // namespace

extern "C" const BlockKernels tessera_block_avx512 = {
    {TESSERA_TILES(1), TESSERA_TILES(2), TESSERA_TILES(3), TESSERA_TILES(4), TESSERA_TILES(5),
     TESSERA_TILES(6), TESSERA_TILES(7), TESSERA_TILES(8), TESSERA_TILES(9), TESSERA_TILES(10),
     TESSERA_TILES(11), TESSERA_TILES(12), TESSERA_TILES(13), TESSERA_TILES(14)}};

}  // namespace tessera
