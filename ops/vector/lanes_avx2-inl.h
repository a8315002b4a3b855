// Eight floats in one AVX2 register. Included by x86_avx2.cpp kernel files only.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

using F = __m256;
using I = __m256i;
using M = __m256;  // all ones or all zeros per lane
constexpr int64_t kLanes = 8;

inline __m256i first(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline void store(float* p, F v) {
  _mm256_storeu_ps(p, v);
}
// The first n (1..7) elements; lanes past them are 0 and not written.
inline F load_n(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, first(n));
}
inline void store_n(float* p, F v, int64_t n) {
  _mm256_maskstore_ps(p, first(n), v);
}
// Lanes n and above take the value `rest`.
inline F keep_n(F v, int64_t n, F rest) {
  return _mm256_blendv_ps(rest, v, _mm256_castsi256_ps(first(n)));
}

inline F set(float v) {
  return _mm256_set1_ps(v);
}
inline F add(F a, F b) {
  return _mm256_add_ps(a, b);
}
inline F sub(F a, F b) {
  return _mm256_sub_ps(a, b);
}
inline F mul(F a, F b) {
  return _mm256_mul_ps(a, b);
}
inline F div(F a, F b) {
  return _mm256_div_ps(a, b);
}
inline F fma(F a, F b, F c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline F sqrt(F a) {
  return _mm256_sqrt_ps(a);
}
// As the instruction: b when either is NaN.
inline F raw_max(F a, F b) {
  return _mm256_max_ps(a, b);
}
inline F raw_min(F a, F b) {
  return _mm256_min_ps(a, b);
}
inline F nearest(F a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F floor(F a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

inline M less(F a, F b) {
  return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
inline M less_equal(F a, F b) {
  return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}
inline M same(F a, F b) {
  return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
inline M is_nan(F a) {
  return _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
}
inline F select(M m, F yes, F no) {
  return _mm256_blendv_ps(no, yes, m);
}

inline I bits(F a) {
  return _mm256_castps_si256(a);
}
inline F floats(I a) {
  return _mm256_castsi256_ps(a);
}
inline I set_bits(int32_t v) {
  return _mm256_set1_epi32(v);
}
inline I add_bits(I a, I b) {
  return _mm256_add_epi32(a, b);
}
inline I sub_bits(I a, I b) {
  return _mm256_sub_epi32(a, b);
}
inline I and_bits(I a, I b) {
  return _mm256_and_si256(a, b);
}
inline I or_bits(I a, I b) {
  return _mm256_or_si256(a, b);
}
template <int n>
inline I shift_left(I a) {
  return _mm256_slli_epi32(a, n);
}
template <int n>
inline I shift_right(I a) {
  return _mm256_srai_epi32(a, n);
}
inline F to_float(I a) {
  return _mm256_cvtepi32_ps(a);
}
// p * 2^n for an integral n in [-300, 300]: in two steps, so that the result may be subnormal or
// overflow although each power of two is an ordinary number.
inline F scale_by_power(F p, F n) {
  const I whole = _mm256_cvtps_epi32(n);
  const I half = shift_right<1>(whole);
  const I rest = sub_bits(whole, half);
  const I bias = set_bits(127);
  const F once = mul(p, floats(shift_left<23>(add_bits(half, bias))));
  return mul(once, floats(shift_left<23>(add_bits(rest, bias))));
}

inline I load_bits(const uint32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
// The low and high halves of the 64-bit products of unsigned lanes.
struct Wide {
  I low, high;
};
inline Wide multiply_wide(I a, uint32_t b) {
  const I factor = set_bits(static_cast<int32_t>(b));
  const I even = _mm256_mul_epu32(a, factor);
  const I odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  return {_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA),
          _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA)};
}
inline I xor_bits(I a, I b) {
  return _mm256_xor_si256(a, b);
}
// Writes a[l], b[l], c[l], d[l] of lane l as four neighbours, order(l) steps of four into out.
inline void store_by_four(float* out, F a, F b, F c, F d) {
  const F ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
  const F cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
  const auto low = [](F x, F y) {
    return _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(x), _mm256_castps_pd(y)));
  };
  const auto high = [](F x, F y) {
    return _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(x), _mm256_castps_pd(y)));
  };
  store(out, low(ab_low, cd_low));
  store(out + kLanes, high(ab_low, cd_low));
  store(out + 2 * kLanes, low(ab_high, cd_high));
  store(out + 3 * kLanes, high(ab_high, cd_high));
}
// Where store_by_four puts the four values of lane l, in steps of four.
constexpr int64_t order(int64_t l) {
  return l % 4 * (kLanes / 4) + l / 4;
}

// In a fixed order, whatever the compiler would choose.
inline float sum_of(F v) {
  alignas(32) float a[8];
  _mm256_store_ps(a, v);
  for (int w = 4; w > 0; w /= 2)
    for (int i = 0; i < w; ++i) a[i] += a[i + w];
  return a[0];
}

}  // namespace
