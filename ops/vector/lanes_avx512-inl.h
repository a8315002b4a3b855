// Sixteen floats in one AVX-512 register. Included by x86_avx512.cpp kernel files only.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

using F = __m512;
using I = __m512i;
using M = __mmask16;
constexpr int64_t kLanes = 16;

inline M first(int64_t n) {
  return static_cast<M>((1u << n) - 1u);
}
inline F load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void store(float* p, F v) {
  _mm512_storeu_ps(p, v);
}
// The first n (1..15) elements; lanes past them are 0 and not written.
inline F load_n(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first(n), p);
}
inline void store_n(float* p, F v, int64_t n) {
  _mm512_mask_storeu_ps(p, first(n), v);
}
// Lanes n and above take the value `rest`.
inline F keep_n(F v, int64_t n, F rest) {
  return _mm512_mask_blend_ps(first(n), rest, v);
}

inline F set(float v) {
  return _mm512_set1_ps(v);
}
inline F add(F a, F b) {
  return _mm512_add_ps(a, b);
}
inline F sub(F a, F b) {
  return _mm512_sub_ps(a, b);
}
inline F mul(F a, F b) {
  return _mm512_mul_ps(a, b);
}
inline F div(F a, F b) {
  return _mm512_div_ps(a, b);
}
inline F fma(F a, F b, F c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline F sqrt(F a) {
  return _mm512_sqrt_ps(a);
}
// As the instruction: b when either is NaN.
inline F raw_max(F a, F b) {
  return _mm512_max_ps(a, b);
}
inline F raw_min(F a, F b) {
  return _mm512_min_ps(a, b);
}
inline F nearest(F a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F floor(F a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

inline M less(F a, F b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
inline M less_equal(F a, F b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
inline M same(F a, F b) {
  return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
inline M is_nan(F a) {
  return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}
inline F select(M m, F yes, F no) {
  return _mm512_mask_blend_ps(m, no, yes);
}

inline I bits(F a) {
  return _mm512_castps_si512(a);
}
inline F floats(I a) {
  return _mm512_castsi512_ps(a);
}
inline I set_bits(int32_t v) {
  return _mm512_set1_epi32(v);
}
inline I add_bits(I a, I b) {
  return _mm512_add_epi32(a, b);
}
inline I sub_bits(I a, I b) {
  return _mm512_sub_epi32(a, b);
}
inline I and_bits(I a, I b) {
  return _mm512_and_si512(a, b);
}
inline I or_bits(I a, I b) {
  return _mm512_or_si512(a, b);
}
template <int n>
inline I shift_left(I a) {
  return _mm512_slli_epi32(a, n);
}
template <int n>
inline I shift_right(I a) {
  return _mm512_srai_epi32(a, n);
}
inline F to_float(I a) {
  return _mm512_cvtepi32_ps(a);
}
// p * 2^n for an integral n in [-300, 300].
inline F scale_by_power(F p, F n) {
  return _mm512_scalef_ps(p, n);
}

// In a fixed order, whatever the compiler would choose.
inline float sum_of(F v) {
  alignas(64) float a[16];
  _mm512_store_ps(a, v);
  for (int w = 8; w > 0; w /= 2)
    for (int i = 0; i < w; ++i) a[i] += a[i + w];
  return a[0];
}

}  // namespace
