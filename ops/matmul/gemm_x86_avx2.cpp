// f32 GEMM register tiles for AVX2 and FMA: up to 6 rows x 16 columns (12 accumulators of 16
// registers).
#include <immintrin.h>

#include "ops/matmul/gemm_kernels.h"

namespace tessera {
namespace {

alignas(32) const int32_t kMaskSource[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                             -1, -1, -1, -1, -1, 0,  0,  0,  0,  0,  0,
                                             0,  0,  0,  0,  0,  0,  0,  0,  0,  0};

template <int kRows, bool kTail>
inline void tile_body(const GemmTile& t) {
  __m256 acc[kRows][2];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
  const auto* masks = kMaskSource + 16 - t.tail;
  const __m256i mask0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks));
  const __m256i mask1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(masks + 8));
  const float* a = t.a;
  const float* b = t.b;
  const int64_t a_rs = t.a_rs, a_cs = t.a_cs, b_ks = t.b_ks;
  for (int64_t k = 0; k < t.k; ++k) {
    const __m256 b0 = kTail ? _mm256_maskload_ps(b, mask0) : _mm256_loadu_ps(b);
    const __m256 b1 = kTail ? _mm256_maskload_ps(b + 8, mask1) : _mm256_loadu_ps(b + 8);
    _mm_prefetch(reinterpret_cast<const char*>(b + 8 * b_ks), _MM_HINT_T0);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 ar = _mm256_broadcast_ss(a + r * a_rs);
      acc[r][0] = _mm256_fmadd_ps(ar, b0, acc[r][0]);
      acc[r][1] = _mm256_fmadd_ps(ar, b1, acc[r][1]);
    }
    a += a_cs;
    b += b_ks;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    float* c = t.c + r * t.ldc;
    if (t.accumulate) {
      acc[r][0] = _mm256_add_ps(acc[r][0], _mm256_maskload_ps(c, mask0));
      acc[r][1] = _mm256_add_ps(acc[r][1], _mm256_maskload_ps(c + 8, mask1));
    }
    _mm256_maskstore_ps(c, mask0, acc[r][0]);
    _mm256_maskstore_ps(c + 8, mask1, acc[r][1]);
  }
}

template <int kRows>
void tile(const GemmTile& t) {
  t.tail == kGemmLanes ? tile_body<kRows, false>(t) : tile_body<kRows, true>(t);
}

inline void transpose8(__m256 (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}

void pack_transpose(const PackTranspose& p) {
  for (int64_t n = 0; n < p.rows; n += 8) {
    const int64_t rows = p.rows - n < 8 ? p.rows - n : 8;
    const float* src = p.src + n * p.ld;
    float* dst = p.dst + n / 16 * p.vs + n % 16;
    for (int64_t k = 0; k < p.k; k += 8) {
      const int64_t cols = p.k - k < 8 ? p.k - k : 8;
      const __m256i mask =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskSource + 16 - cols));
      __m256 r[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        r[i] = i < rows ? _mm256_maskload_ps(src + i * p.ld + k, mask) : _mm256_setzero_ps();
      transpose8(r);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        if (i < cols) _mm256_storeu_ps(dst + (k + i) * p.ks, r[i]);
    }
  }
  // The upper half of the last vector, when the rows ended in the lower half.
  if (p.rows % 16 != 0 && p.rows % 16 <= 8) {
    float* dst = p.dst + p.rows / 16 * p.vs + 8;
    for (int64_t k = 0; k < p.k; ++k) _mm256_storeu_ps(dst + k * p.ks, _mm256_setzero_ps());
  }
}

}  // namespace

extern "C" const GemmKernels tessera_gemm_avx2 = {
    "avx2",
    {{tile<1>}, {tile<2>}, {tile<3>}, {tile<4>}, {tile<5>}, {tile<6>}},
    6,
    pack_transpose,
};

}  // namespace tessera
