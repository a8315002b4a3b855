#include <immintrin.h>

#include "timing/peak_kernels.h"

namespace tessera::experiment {

namespace {

double loop(float* sink) {
  __m256 sums[kPeakChains];
  for (auto& s : sums) s = _mm256_setzero_ps();
  const __m256 a = _mm256_set1_ps(*sink + 0.5f), b = _mm256_set1_ps(*sink + 0.25f);
  for (std::int64_t r = 0; r < kPeakRounds; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kPeakChains; ++c) sums[c] = _mm256_fmadd_ps(sums[c], a, b);
  }
  float lanes[8];
  for (int c = 1; c < kPeakChains; ++c) sums[0] = _mm256_add_ps(sums[0], sums[c]);
  _mm256_storeu_ps(lanes, sums[0]);
  *sink += lanes[0] * 1e-30f;
  return 2.0 * 8 * kPeakRounds * kPeakChains;
}

// Without VNNI: products of bytes summed in pairs to 16 bits, those to 32, and added.
double bytes_loop(float* sink) {
  __m256i sums[kPeakChains];
  for (auto& s : sums) s = _mm256_setzero_si256();
  const __m256i a = _mm256_set1_epi8(*sink > 0 ? 1 : 0), ones = _mm256_set1_epi16(1);
  for (std::int64_t r = 0; r < kPeakRounds / 3; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kPeakChains; ++c) {
      const __m256i x = _mm256_xor_si256(a, sums[c]);  // keeps products in the loop
      sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(_mm256_maddubs_epi16(x, a), ones));
    }
  }
  std::int32_t lanes[8];
  for (int c = 1; c < kPeakChains; ++c) sums[0] = _mm256_add_epi32(sums[0], sums[c]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sums[0]);
  *sink += static_cast<float>(lanes[0]) * 1e-30f;
  return 2.0 * 32 * static_cast<double>(kPeakRounds / 3) * kPeakChains;
}

}  // namespace

const PeakLoop kPeakAvx2 = loop, kPeakBytesAvx2 = bytes_loop;

}  // namespace tessera::experiment
