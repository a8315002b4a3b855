#include <immintrin.h>

#include "timing/peak_kernels.h"

namespace tessera::experiment {

namespace {

double loop(float* sink) {
  __m256i sums[kPeakChains];
  for (auto& s : sums) s = _mm256_setzero_si256();
  const __m256i a = _mm256_set1_epi8(*sink > 0 ? 1 : 0);
  for (std::int64_t r = 0; r < kPeakRounds; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kPeakChains; ++c) sums[c] = _mm256_dpbusd_avx_epi32(sums[c], a, a);
  }
  std::int32_t lanes[8];
  for (int c = 1; c < kPeakChains; ++c) sums[0] = _mm256_add_epi32(sums[0], sums[c]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sums[0]);
  *sink += static_cast<float>(lanes[0]) * 1e-30f;
  return 2.0 * 32 * kPeakRounds * kPeakChains;
}

}  // namespace

const PeakLoop kPeakAvxVnni = loop;

}  // namespace tessera::experiment
