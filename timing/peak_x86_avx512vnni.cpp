#include <immintrin.h>

#include "timing/peak_kernels.h"

namespace tessera::experiment {

namespace {

double loop(float* sink) {
  __m512i sums[kPeakChains];
  for (auto& s : sums) s = _mm512_setzero_si512();
  const __m512i a = _mm512_set1_epi8(*sink > 0 ? 1 : 0);
  for (std::int64_t r = 0; r < kPeakRounds; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kPeakChains; ++c) sums[c] = _mm512_dpbusd_epi32(sums[c], a, a);
  }
  for (int c = 1; c < kPeakChains; ++c) sums[0] = _mm512_add_epi32(sums[0], sums[c]);
  *sink += static_cast<float>(_mm512_reduce_add_epi32(sums[0])) * 1e-30f;
  return 2.0 * 64 * kPeakRounds * kPeakChains;
}

}  // namespace

const PeakLoop kPeakAvx512Vnni = loop;

}  // namespace tessera::experiment
