// f32 GEMM register tiles for AVX-512. 8 rows x 3 vectors is the main tile: 24 accumulators, and
// 11 loads per 24 multiply-adds leave the load ports room for B streaming from L2.
#include <immintrin.h>

#include "ops/matmul/gemm_kernels.h"

namespace tessera {
namespace {

// kNext: whether there is a next vector to ask for, of which a step costs an instruction.
template <int kRows, int kVectors, bool kNext>
void tile_of(const GemmTile& t) {
  __m512 acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_setzero_ps();
  const __mmask16 tail = static_cast<__mmask16>(0xffffu >> (16 - t.tail));
  const float* a = t.a;
  const float* b = t.b;
  const int64_t a_rs = t.a_rs, a_cs = t.a_cs, b_ks = t.b_ks, b_vs = t.b_vs;
  // B is read once per tile from L2: ask for it some steps ahead, across page ends too. The same
  // for A when its steps go from row to row of memory.
  constexpr int64_t kAhead = kRows >= 6 ? 8 : 16;
  const float* next = t.ahead;
  for (int64_t k = 0; k < t.k; ++k) {
    __m512 bv[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      bv[v] = v + 1 < kVectors ? _mm512_loadu_ps(b + v * b_vs)
                               : _mm512_maskz_loadu_ps(tail, b + v * b_vs);
      _mm_prefetch(reinterpret_cast<const char*>(b + v * b_vs + kAhead * b_ks), _MM_HINT_T0);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const __m512 ar = _mm512_set1_ps(a[r * a_rs]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm512_fmadd_ps(ar, bv[v], acc[r][v]);
    }
    if constexpr (kNext) {
      _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
      next += b_ks;
    }
    a += a_cs;
    b += b_ks;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    float* c = t.c + r * t.ldc;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __mmask16 mask = v + 1 < kVectors ? static_cast<__mmask16>(0xffff) : tail;
      __m512 sum = acc[r][v];
      if (t.accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, c + 16 * v));
      _mm512_mask_storeu_ps(c + 16 * v, mask, sum);
    }
  }
}

template <int kRows, int kVectors>
void tile(const GemmTile& t) {
  t.ahead ? tile_of<kRows, kVectors, true>(t) : tile_of<kRows, kVectors, false>(t);
}

// 16 x 16 transpose by 4 rounds of two-source permutes on 32, 64, 128 and 256 bits.
inline void transpose(__m512 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
    const __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  // r[4 g + j] holds, in 128-bit lane l, column 4 l + j of rows 4 g .. 4 g + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 lo01 = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x44);
    const __m512 hi01 = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xee);
    const __m512 lo23 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x44);
    const __m512 hi23 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xee);
    t[j] = _mm512_shuffle_f32x4(lo01, lo23, 0x88);
    t[4 + j] = _mm512_shuffle_f32x4(lo01, lo23, 0xdd);
    t[8 + j] = _mm512_shuffle_f32x4(hi01, hi23, 0x88);
    t[12 + j] = _mm512_shuffle_f32x4(hi01, hi23, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

void pack_transpose(const PackTranspose& p) {
  for (int64_t n = 0; n < p.rows; n += 16) {
    const int64_t rows = p.rows - n < 16 ? p.rows - n : 16;
    const float* src = p.src + n * p.ld;
    float* dst = p.dst + n / 16 * p.vs;
    for (int64_t k = 0; k < p.k; k += 16) {
      const int64_t cols = p.k - k < 16 ? p.k - k : 16;
      const __mmask16 mask = static_cast<__mmask16>(0xffffu >> (16 - cols));
      __m512 r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        r[i] = _mm512_maskz_loadu_ps(i < rows ? mask : 0, src + (i < rows ? i : 0) * p.ld + k);
      transpose(r);
      if (cols == 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_storeu_ps(dst + (k + i) * p.ks, r[i]);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
          if (i < cols) _mm512_storeu_ps(dst + (k + i) * p.ks, r[i]);
      }
    }
  }
}

}  // namespace

extern "C" const GemmKernels tessera_gemm_avx512 = {
    "avx512",
    {
        {tile<1, 1>, tile<1, 2>, tile<1, 3>, tile<1, 4>, tile<1, 5>, tile<1, 6>, tile<1, 7>,
         tile<1, 8>},
        {tile<2, 1>, tile<2, 2>, tile<2, 3>, tile<2, 4>, tile<2, 5>, tile<2, 6>, tile<2, 7>,
         tile<2, 8>},
        {tile<3, 1>, tile<3, 2>, tile<3, 3>, tile<3, 4>, tile<3, 5>, tile<3, 6>, tile<3, 7>},
        {tile<4, 1>, tile<4, 2>, tile<4, 3>, tile<4, 4>, tile<4, 5>, tile<4, 6>},
        {tile<5, 1>, tile<5, 2>, tile<5, 3>, tile<5, 4>, tile<5, 5>},
        {tile<6, 1>, tile<6, 2>, tile<6, 3>, tile<6, 4>},
        {tile<7, 1>, tile<7, 2>, tile<7, 3>},
        {tile<8, 1>, tile<8, 2>, tile<8, 3>},
        {tile<9, 1>, tile<9, 2>, tile<9, 3>},
        {tile<10, 1>, tile<10, 2>},
        {tile<11, 1>, tile<11, 2>},
        {tile<12, 1>, tile<12, 2>},
        {tile<13, 1>, tile<13, 2>},
        {tile<14, 1>, tile<14, 2>},
        {tile<15, 1>},
        {tile<16, 1>},
    },
    8,
    pack_transpose,
};

}  // namespace tessera
