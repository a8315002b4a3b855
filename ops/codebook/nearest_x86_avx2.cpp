// Nearest entries, AVX2. Up to 16 entries live in registers; of larger codebooks the first four
// levels of the search do, the rest is gathered from the first level cache.
#if defined(__x86_64__)

#include <immintrin.h>

#include "ops/codebook/nearest_kernels.h"

namespace tessera {
namespace {

// 16 floats, addressed by the lanes of a register.
template <int levels>
struct Lookup {
  __m256 low, high;
  explicit Lookup(const float* p) : low(_mm256_load_ps(p)), high(_mm256_load_ps(p + 8)) {}
  __m256 operator()(__m256i index) const {
    const __m256 first = _mm256_permutevar8x32_ps(low, index);
    if constexpr (levels <= 3) return first;
    // Bit 3 of the index as the sign that the blend looks at.
    const __m256 second = _mm256_permutevar8x32_ps(high, index);
    return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
  }
};

template <int levels>
void run(const NearestTable& table, const float* w, int64_t n, NearestOut out) {
  constexpr int kHeld = levels < 4 ? levels : 4;
  constexpr bool kAllHeld = levels == kHeld;
  constexpr int kStride = 1 << (levels - kHeld);
  alignas(32) float coarse[16];
  for (int i = 0; i < 16; ++i) coarse[i] = table.limits[(i + 1) * kStride - 1];
  const Lookup<kHeld> limits(coarse), entries(table.entries), below(table.below),
      above(table.above);
  const auto block = [&](const float* from, float* entry_to, float* neighbour_to,
                         uint8_t* index_to) {
    const __m256 x = _mm256_loadu_ps(from);
    __m256i index = _mm256_setzero_si256();
    const auto advance = [&](__m256 limit, int step) {
      const __m256i more = _mm256_castps_si256(_mm256_cmp_ps(x, limit, _CMP_GT_OQ));
      index = _mm256_add_epi32(index, _mm256_and_si256(more, _mm256_set1_epi32(step)));
    };
#pragma GCC unroll 8
    for (int step = 1 << kHeld >> 1; step > 0; step >>= 1)
      advance(limits(_mm256_add_epi32(index, _mm256_set1_epi32(step - 1))), step);
    if constexpr (!kAllHeld) {
      index = _mm256_slli_epi32(index, levels - kHeld);
#pragma GCC unroll 8
      for (int step = kStride >> 1; step > 0; step >>= 1)
        advance(_mm256_i32gather_ps(table.limits + step - 1, index, 4), step);
    }
    __m256 entry;
    if constexpr (kAllHeld)
      entry = entries(index);
    else
      entry = _mm256_i32gather_ps(table.entries, index, 4);
    if (neighbour_to) {
      const __m256 up = _mm256_cmp_ps(x, entry, _CMP_GE_OQ);
      __m256 neighbour;
      if constexpr (kAllHeld) {
        neighbour = _mm256_blendv_ps(below(index), above(index), up);
      } else {
        // -1 in the lanes that look up.
        const __m256i at = _mm256_sub_epi32(_mm256_slli_epi32(index, 1), _mm256_castps_si256(up));
        neighbour = _mm256_i32gather_ps(table.sides, at, 4);
      }
      _mm256_storeu_ps(neighbour_to, neighbour);
    }
    if (entry_to) _mm256_storeu_ps(entry_to, entry);
    if (index_to) {
      const __m128i words =
          _mm_packus_epi32(_mm256_castsi256_si128(index), _mm256_extracti128_si256(index, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(index_to), _mm_packus_epi16(words, words));
    }
  };
  const auto at = [](auto* p, int64_t i) { return p ? p + i : p; };
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) block(w + i, at(out.entry, i), at(out.neighbour, i), at(out.index, i));
  if (i == n) return;
  float x[8] = {}, entry[8], neighbour[8];
  uint8_t index[8];
  for (int64_t j = i; j < n; ++j) x[j - i] = w[j];
  block(x, entry, neighbour, index);
  for (int64_t j = i; j < n; ++j) {
    if (out.entry) out.entry[j] = entry[j - i];
    if (out.neighbour) out.neighbour[j] = neighbour[j - i];
    if (out.index) out.index[j] = index[j - i];
  }
}

void dispatch(const NearestTable& table, const float* w, int64_t n, NearestOut out) {
  constexpr decltype(&run<0>) kByLevels[] = {run<0>, run<1>, run<2>, run<3>, run<4>,
                                             run<5>, run<6>, run<7>, run<8>};
  kByLevels[table.levels](table, w, n, out);
}

}  // namespace
}  // namespace tessera

extern "C" const tessera::NearestKernels tessera::tessera_nearest_avx2 = {"avx2",
                                                                          tessera::dispatch};

#endif
