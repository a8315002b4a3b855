// Nearest entries, AVX2. Up to 16 entries live in registers; larger codebooks are searched by
// gathers from the first level cache.
#if defined(__x86_64__)

#include <immintrin.h>

#include "ops/codebook/nearest_kernels.h"

namespace tessera {
namespace {

template <int levels>
struct Lookup {
  const float* values;
  __m256 low, high;
  explicit Lookup(const float* p)
      : values(p), low(_mm256_load_ps(p)), high(_mm256_load_ps(p + 8)) {}
  __m256 operator()(__m256i index) const {
    if constexpr (levels > 4) return _mm256_i32gather_ps(values, index, 4);
    const __m256 first = _mm256_permutevar8x32_ps(low, index);
    if constexpr (levels <= 3) return first;
    // Bit 3 of the index as the sign that the blend looks at.
    const __m256 second = _mm256_permutevar8x32_ps(high, index);
    return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
  }
};

template <int levels>
void run(const NearestTable& table, const float* w, int64_t n, NearestOut out) {
  const Lookup<levels> limits(table.limits), entries(table.entries), below(table.below),
      above(table.above);
  const auto block = [&](const float* from, float* entry_to, float* neighbour_to,
                         uint8_t* index_to) {
    const __m256 x = _mm256_loadu_ps(from);
    __m256i index = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int step = 1 << levels >> 1; step > 0; step >>= 1) {
      const __m256 limit = limits(_mm256_add_epi32(index, _mm256_set1_epi32(step - 1)));
      const __m256i more = _mm256_castps_si256(_mm256_cmp_ps(x, limit, _CMP_GT_OQ));
      index = _mm256_add_epi32(index, _mm256_and_si256(more, _mm256_set1_epi32(step)));
    }
    const __m256 entry = entries(index);
    if (neighbour_to) {
      const __m256 up = _mm256_cmp_ps(x, entry, _CMP_GE_OQ);
      _mm256_storeu_ps(neighbour_to, _mm256_blendv_ps(below(index), above(index), up));
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
