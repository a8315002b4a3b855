// Byte panels with VBMI, decoded and multiplied: 64 indices at a time are looked up in the four
// byte planes of the table, which are exact for f32 and fit 4 to 16 registers.
#include <immintrin.h>

#include "ops/codebook/byte_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/look_up_vbmi-inl.h"

// The four weights of each of sixteen rows that a step stands for.
template <int kRegisters>
inline void look_up_step(const __m512i (&plane)[4][kRegisters], const uint8_t* step,
                         __m512 (&out)[4]) {
  __m512i bits[4];
  look_up_floats<kRegisters>(plane, _mm512_loadu_si512(step), bits);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) out[j] = _mm512_castsi512_ps(bits[j]);
}

template <int kRegisters, int kRows>
void tile(const ByteTile& t) {
  // Of few rows several sums each: one would wait for itself.
  constexpr int kSums = kRows == 1 ? 4 : kRows <= 5 ? 2 : 1;
  __m512i plane[4][kRegisters];
  load_planes<kRegisters>(t.table, plane);
  __m512 sum[kRows][kSums];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < kSums; ++i) sum[r][i] = _mm512_setzero_ps();
  __m512 w[4];
  const int64_t whole = t.k / 4;
  for (int64_t s = 0; s < whole; ++s) {
    look_up_step<kRegisters>(plane, t.steps + 64 * s, w);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j)
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        sum[r][j % kSums] =
            _mm512_fmadd_ps(w[j], _mm512_set1_ps(t.x[r * t.x_rs + 4 * s + j]), sum[r][j % kSums]);
  }
  if (whole * 4 < t.k) {
    look_up_step<kRegisters>(plane, t.steps + 64 * whole, w);
    for (int64_t j = 0; j < t.k % 4; ++j)
      for (int r = 0; r < kRows; ++r)
        sum[r][0] =
            _mm512_fmadd_ps(w[j], _mm512_set1_ps(t.x[r * t.x_rs + 4 * whole + j]), sum[r][0]);
  }
  const __mmask16 lanes = static_cast<__mmask16>((1u << t.tail) - 1);
  const __m512 scale = t.scale ? _mm512_loadu_ps(t.scale) : _mm512_set1_ps(1.0f);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    __m512 all = sum[r][0];
    if constexpr (kSums == 2) all = _mm512_add_ps(all, sum[r][1]);
    if constexpr (kSums == 4)
      all = _mm512_add_ps(_mm512_add_ps(all, sum[r][1]), _mm512_add_ps(sum[r][2], sum[r][3]));
    float* y = t.y + r * t.ldy;
    if (t.scale) all = _mm512_mul_ps(all, scale);
    if (t.accumulate) all = _mm512_add_ps(all, _mm512_maskz_loadu_ps(lanes, y));
    _mm512_mask_storeu_ps(y, lanes, all);
  }
}

template <int kRegisters>
void tiles(const ByteTile& t) {
  constexpr void (*kTiles[kByteRows])(const ByteTile&) = {
      tile<kRegisters, 1>, tile<kRegisters, 2>, tile<kRegisters, 3>, tile<kRegisters, 4>,
      tile<kRegisters, 5>, tile<kRegisters, 6>, tile<kRegisters, 7>, tile<kRegisters, 8>};
  kTiles[t.rows - 1](t);
}

template <int kRegisters>
void fill(const ByteFill& f) {
  const __m512 scale = f.scale ? _mm512_loadu_ps(f.scale) : _mm512_set1_ps(1.0f);
  for (int64_t e = 0; e < f.d; ++e) {
    __m512i plane[4][kRegisters];
    load_planes<kRegisters>(f.table + 64 * (e * 4) * kRegisters, plane);
    for (int64_t s = f.k0 / f.d / 4; 4 * s * f.d < f.k0 + f.k; ++s) {
      __m512 words[4];
      look_up_step<kRegisters>(plane, f.steps + 64 * s, words);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const int64_t k = (4 * s + j) * f.d + e - f.k0;
        if (k < 0 || k >= f.k) continue;
        __m512 value = words[j];
        if (f.scale) value = _mm512_mul_ps(value, scale);
        _mm512_storeu_ps(f.dst + (f.order ? f.order[k] : k) * f.ks, value);
      }
    }
  }
}

}  // namespace

extern "C" void tessera_byte_tile_avx512vbmi(const ByteTile& t) {
  t.bits <= 6 ? tiles<1>(t) : t.bits == 7 ? tiles<2>(t) : tiles<4>(t);
}

extern "C" void tessera_byte_fill_avx512vbmi(const ByteFill& f) {
  f.bits <= 6 ? fill<1>(f) : f.bits == 7 ? fill<2>(f) : fill<4>(f);
}

}  // namespace tessera
