// Nearest entries, AVX-512. Up to 32 entries live in registers and are looked up by permutation;
// of larger codebooks the first five levels of the search do, the rest is gathered from the first
// level cache.
#if defined(__x86_64__)

#include <immintrin.h>

#include "ops/codebook/nearest_kernels.h"

namespace tessera {
namespace {

// 16 or 32 floats, addressed by the lanes of a register.
template <int levels>
struct Lookup {
  __m512 low, high;
  explicit Lookup(const float* p) : low(_mm512_load_ps(p)), high(_mm512_load_ps(p + 16)) {}
  __m512 operator()(__m512i index) const {
    if constexpr (levels <= 4) return _mm512_permutexvar_ps(index, low);
    return _mm512_permutex2var_ps(low, index, high);
  }
};

template <int levels>
struct Searcher {
  static constexpr int kHeld = levels < 5 ? levels : 5;

  const NearestTable& table;
  // Every stride-th limit, and the values when all of them fit.
  alignas(64) float coarse[32];
  Lookup<kHeld> limits, entries, below, above;

  explicit Searcher(const NearestTable& t)
      : table(t), limits(fill(t)), entries(t.entries), below(t.below), above(t.above) {}

  const float* fill(const NearestTable& t) {
    constexpr int kStride = 1 << (levels - kHeld);
    for (int i = 0; i < 32; ++i) coarse[i] = t.limits[(i + 1) * kStride - 1];
    return coarse;
  }

  __m512i index(__m512 w) const {
    __m512i found = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int step = 1 << kHeld >> 1; step > 0; step >>= 1) {
      const __m512i at = _mm512_add_epi32(found, _mm512_set1_epi32(step - 1));
      const __mmask16 more = _mm512_cmp_ps_mask(w, limits(at), _CMP_GT_OQ);
      found = _mm512_mask_add_epi32(found, more, found, _mm512_set1_epi32(step));
    }
    if constexpr (levels > kHeld) {
      found = _mm512_slli_epi32(found, levels - kHeld);
#pragma GCC unroll 8
      for (int step = 1 << (levels - kHeld) >> 1; step > 0; step >>= 1) {
        const __m512 limit = _mm512_i32gather_ps(found, table.limits + step - 1, 4);
        const __mmask16 more = _mm512_cmp_ps_mask(w, limit, _CMP_GT_OQ);
        found = _mm512_mask_add_epi32(found, more, found, _mm512_set1_epi32(step));
      }
    }
    return found;
  }

  __m512 entry(__m512i index) const {
    if constexpr (levels > kHeld) return _mm512_i32gather_ps(index, table.entries, 4);
    return entries(index);
  }
  __m512 neighbour(__m512i index, __m512 w, __m512 entry) const {
    const __mmask16 up = _mm512_cmp_ps_mask(w, entry, _CMP_GE_OQ);
    if constexpr (levels > kHeld) {
      const __m512i twice = _mm512_slli_epi32(index, 1);
      const __m512i at = _mm512_mask_add_epi32(twice, up, twice, _mm512_set1_epi32(1));
      return _mm512_i32gather_ps(at, table.sides, 4);
    }
    return _mm512_mask_blend_ps(up, below(index), above(index));
  }
};

template <int levels>
void run(const NearestTable& table, const float* w, int64_t n, NearestOut out) {
  const Searcher<levels> search(table);
  const auto block = [&](__m512 x, int64_t i, __mmask16 lanes) {
    const __m512i index = search.index(x);
    const __m512 entry = search.entry(index);
    if (out.neighbour)
      _mm512_mask_storeu_ps(out.neighbour + i, lanes, search.neighbour(index, x, entry));
    if (out.entry) _mm512_mask_storeu_ps(out.entry + i, lanes, entry);
    return _mm512_cvtepi32_epi8(index);
  };
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i index = block(_mm512_loadu_ps(w + i), i, 0xffff);
    if (out.index) _mm_storeu_si128(reinterpret_cast<__m128i*>(out.index + i), index);
  }
  if (i == n) return;
  const auto rest = static_cast<__mmask16>((1u << (n - i)) - 1u);
  const __m128i index = block(_mm512_maskz_loadu_ps(rest, w + i), i, rest);
  if (out.index) _mm_mask_storeu_epi8(out.index + i, rest, index);
}

void dispatch(const NearestTable& table, const float* w, int64_t n, NearestOut out) {
  constexpr decltype(&run<0>) kByLevels[] = {run<0>, run<1>, run<2>, run<3>, run<4>,
                                             run<5>, run<6>, run<7>, run<8>};
  kByLevels[table.levels](table, w, n, out);
}

}  // namespace
}  // namespace tessera

extern "C" const tessera::NearestKernels tessera::tessera_nearest_avx512 = {"avx512",
                                                                            tessera::dispatch};

#endif
