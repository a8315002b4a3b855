// Integer products for AVX-512 VNNI with VBMI: 64 indices are looked up by one permute, of which
// bits above an index do no harm, as the table repeats.
#include <immintrin.h>

#include "ops/codebook/int8_kernels.h"

namespace tessera {
namespace {

template <int kForm>
struct Look {
  __m512i table;
  inline void load(const int8_t* t) {
    if constexpr (kForm != 8) table = _mm512_loadu_si512(t);
  }
  inline __m512i look_up(__m512i index) const {
    if constexpr (kForm == 8) return index;
    return _mm512_permutexvar_epi8(index, table);
  }
};

#include "ops/codebook/int8_avx512-inl.h"
#include "ops/codebook/int8_body-inl.h"

// Four bits of an index byte choose a subset of four columns, of which the table has the sum:
// two look-ups and two additions for 256 weights, where entries would take four of each and
// eight shifts.
template <int kVectors>
void sums_tile(const Int8Tile& t) {
  const __m512i ones = _mm512_set1_epi8(1), group = _mm512_set1_epi32(0x30201000);
  __m512i low[kVectors], high[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) low[v] = high[v] = _mm512_setzero_si512();
  const uint8_t* tables = t.tables;
  for (int64_t step = 0; step < t.steps; ++step, tables += 256) {
    __m512i table[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) table[i] = _mm512_loadu_si512(tables + 64 * i);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __m512i bits = _mm512_loadu_si512(t.w.panels + v * t.w.panel_stride + step * 64);
      const __m512i first = Lanes::low<15>(bits, group);
      const __m512i second = Lanes::low<15>(_mm512_srli_epi16(bits, 4), group);
      low[v] = _mm512_dpbusd_epi32(low[v], _mm512_permutexvar_epi8(first, table[0]), ones);
      high[v] = _mm512_dpbusd_epi32(high[v], _mm512_permutexvar_epi8(first, table[1]), ones);
      low[v] = _mm512_dpbusd_epi32(low[v], _mm512_permutexvar_epi8(second, table[2]), ones);
      high[v] = _mm512_dpbusd_epi32(high[v], _mm512_permutexvar_epi8(second, table[3]), ones);
    }
  }
  const __m512i all = _mm512_set1_epi32(t.w.table[0] * t.x_total);
  const __m512i apart = _mm512_set1_epi32(t.w.table[1] - t.w.table[0]);
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const __m512i chosen = _mm512_add_epi32(low[v], _mm512_slli_epi32(high[v], 8));
    const char* meta = t.w.meta + v * t.w.meta_stride;
    Lanes::finish(_mm512_add_epi32(all, _mm512_mullo_epi32(chosen, apart)), Lanes::load(meta),
                  Lanes::load_floats(meta + 64), *t.x_zero, *t.x_scale, t.y + 16 * v,
                  v + 1 < kVectors ? 16 : t.tail, false);
  }
}

void subsets(const Int8Subsets& s) {
  const __m128i by_column = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  // Byte i of dword n: bit i of n.
  const __m512i members =
      _mm512_setr_epi32(0x00000000, 0x00000001, 0x00000100, 0x00000101, 0x00010000, 0x00010001,
                        0x00010100, 0x00010101, 0x01000000, 0x01000001, 0x01000100, 0x01000101,
                        0x01010000, 0x01010001, 0x01010100, 0x01010101);
  __m512i total = _mm512_setzero_si512();
  for (int64_t half = 0; half < 2 * s.steps; ++half) {
    const __m128i x = _mm_shuffle_epi8(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(s.x + 16 * half)), by_column);
    const __m512i columns = _mm512_broadcast_i32x4(x);
    uint8_t* to = s.tables + 128 * half;
    const auto write = [&](__m512i four) __attribute__((always_inline)) {
      const __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), four, members);
      total = _mm512_add_epi32(total, sums);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(sums));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 64),
                       _mm512_cvtepi32_epi8(_mm512_srli_epi32(sums, 8)));
      to += 16;
    };
    write(_mm512_shuffle_epi32(columns, _MM_PERM_AAAA));
    write(_mm512_shuffle_epi32(columns, _MM_PERM_BBBB));
    write(_mm512_shuffle_epi32(columns, _MM_PERM_CCCC));
    write(_mm512_shuffle_epi32(columns, _MM_PERM_DDDD));
  }
  // The last subset is all four.
  *s.total = _mm_extract_epi32(_mm512_extracti32x4_epi32(total, 3), 3);
}

}  // namespace

extern "C" const Int8Kernels tessera_int8_avx512vnnivbmi =
    TESSERA_INT8_KERNELS("avx512vnnivbmi", subsets, {sums_tile<1>, sums_tile<8>});

}  // namespace tessera
