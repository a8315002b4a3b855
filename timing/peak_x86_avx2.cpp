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

}  // namespace

const PeakLoop kPeakAvx2 = loop;

}  // namespace tessera::experiment
