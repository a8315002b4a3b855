// Integer products for AVX-512 VNNI without VBMI: sixteen entries are looked up by a shuffle.
#include <immintrin.h>

#include "ops/codebook/int8_kernels.h"

namespace tessera {
namespace {

template <int kForm>
struct Look {
  static constexpr int kTables = kForm == 8 ? 1 : kForm <= 4 ? 1 : 1 << (kForm - 4);
  __m512i table[kTables];
  inline void load(const int8_t* t) {
    if constexpr (kForm == 8) return;
#pragma GCC unroll 4
    for (int i = 0; i < kTables; ++i)
      table[i] =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(t + 16 * i)));
  }
  inline __m512i look_up(__m512i index) const {
    if constexpr (kForm == 8) return index;
    const __m512i low = _mm512_and_si512(index, _mm512_set1_epi8(15));
    __m512i found = _mm512_shuffle_epi8(table[0], low);
    if constexpr (kTables > 1) {
      const __mmask64 four = _mm512_test_epi8_mask(index, _mm512_set1_epi8(16));
      found = _mm512_mask_shuffle_epi8(found, four, table[1], low);
      if constexpr (kTables > 2) {
        const __m512i upper =
            _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(table[2], low), four, table[3], low);
        found = _mm512_mask_blend_epi8(_mm512_test_epi8_mask(index, _mm512_set1_epi8(32)), found,
                                       upper);
      }
    }
    return found;
  }
};

#include "ops/codebook/int8_avx512-inl.h"
#include "ops/codebook/int8_body-inl.h"

}  // namespace

extern "C" const Int8Kernels tessera_int8_avx512vnni =
    TESSERA_INT8_KERNELS("avx512vnni", nullptr, {});

}  // namespace tessera
