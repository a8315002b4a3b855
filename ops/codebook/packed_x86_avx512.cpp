// Products with packed codebook weights for AVX-512: an element costs one shift and one permute
// (two permutes for 5 bits, four and two blends for 6) per 16 rows of W, then one multiply-add per
// row of x. The table stays in registers.
#include <immintrin.h>

#include "ops/codebook/packed_kernels.h"

namespace tessera {
namespace {

template <int kRegisters>
inline __m512 look_up(const __m512* table, __m512i index) {
  if constexpr (kRegisters == 1) {
    return _mm512_permutexvar_ps(index, table[0]);
  } else if constexpr (kRegisters == 2) {
    return _mm512_permutex2var_ps(table[0], index, table[1]);
  } else {
    const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
    return _mm512_mask_blend_ps(upper, _mm512_permutex2var_ps(table[0], index, table[1]),
                                _mm512_permutex2var_ps(table[2], index, table[3]));
  }
}

// Sanitizers check every load: eight copies of an element's code take minutes to compile then.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kUnrolled = false;
#else
constexpr bool kUnrolled = true;
#endif

constexpr int registers_of(int bits) {
  return bits <= 4 ? 1 : 1 << (bits - 4);
}
// The indices of 8 successive elements of 16 rows, to be taken in order: low() is the register
// whose low bits are the index of the current element, higher bits are left over.
template <int kBits>
struct Eight {
  // Elements that lie within the first 32 bits; the others move to the front of `rest`.
  static constexpr int kFirst = 32 / kBits < 8 ? 32 / kBits : 8;
  __m512i word, rest;

  inline void load(const PackedPanels& w, int64_t v, int64_t step) {
    const uint8_t* p = w.panels + v * w.panel_stride + step * 16 * kBits;
    if constexpr (kBits == 1) {
      word = bytes(p);
    } else if constexpr (kBits == 2) {
      word = words(p);
    } else if constexpr (kBits == 3) {
      word = _mm512_or_si512(words(p), _mm512_slli_epi32(bytes(p + 32), 16));
    } else {
      word = _mm512_loadu_si512(p);
      if constexpr (kBits > 4) {
        constexpr int kLeft = 32 - kFirst * kBits;  // bits of `word` that belong to the rest
        const __m512i high = kBits == 5 ? bytes(p + 64) : words(p + 64);
        rest = _mm512_or_si512(_mm512_srli_epi32(word, 32 - kLeft), _mm512_slli_epi32(high, kLeft));
      }
    }
  }

  static inline __m512i bytes(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static inline __m512i words(const uint8_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }

  inline __m512i low() const { return word; }

  // After element k of the step.
  inline void next(int k) {
    word = kFirst < 8 && k + 1 == kFirst ? rest : _mm512_srli_epi32(word, kBits);
  }
};

// Fewer bits than a table register has entries for: the table repeats, so leftover bits of the
// next index in the same dword do no harm.
template <int kBits>
inline void load_table(const float* values, __m512 (&table)[registers_of(kBits)]) {
  constexpr int kRegisters = registers_of(kBits);
#pragma GCC unroll 4
  for (int i = 0; i < kRegisters; ++i) table[i] = _mm512_loadu_ps(values + 16 * i);
}

template <int kBits, int kRows, int kVectors>
void tile(const PackedTile& t) {
  __m512 table[registers_of(kBits)];
  load_table<kBits>(t.w.table, table);
  __m512 acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[m][v] = _mm512_setzero_ps();

  const float* x = t.x;
  const int64_t x_rs = t.x_rs;
  const int64_t step0 = t.k0 / 8, steps = (t.k + 7) / 8;
  for (int64_t s = 0; s < steps; ++s, x += 8) {
    Eight<kBits> eight[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) eight[v].load(t.w, v, step0 + s);
    const auto element = [&](int k) __attribute__((always_inline)) {
      __m512 w[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        w[v] = look_up<registers_of(kBits)>(table, eight[v].low());
        eight[v].next(k);
      }
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        const __m512 xm = _mm512_set1_ps(x[m * x_rs + k]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) acc[m][v] = _mm512_fmadd_ps(xm, w[v], acc[m][v]);
      }
    };
    const int64_t count = t.k - 8 * s < 8 ? t.k - 8 * s : 8;
    if (kUnrolled && count == 8) {
      if constexpr (kUnrolled) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) element(k);
      }
    } else {
#pragma GCC unroll 1
      for (int k = 0; k < count; ++k) element(k);
    }
  }

  const __mmask16 tail = static_cast<__mmask16>(0xffffu >> (16 - t.tail));
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const __mmask16 mask = v + 1 < kVectors ? static_cast<__mmask16>(0xffff) : tail;
    const __m512 scale =
        t.w.scale ? _mm512_loadu_ps(t.w.scale + v * t.w.scale_stride) : _mm512_set1_ps(1.0f);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      float* y = t.y + m * t.ldy + 16 * v;
      const __m512 old = t.accumulate ? _mm512_maskz_loadu_ps(mask, y) : _mm512_setzero_ps();
      _mm512_mask_storeu_ps(y, mask, _mm512_fmadd_ps(acc[m][v], scale, old));
    }
  }
}

// The products of the entries with d values of x are a table themselves: an index costs a shift, a
// permute and an addition for d multiply-adds.
template <int kBits, int kVectors>
void vector_tile(const PackedVectorTile& t) {
  constexpr int kRegisters = registers_of(kBits);
  __m512 acc[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) acc[v] = _mm512_setzero_ps();
  const float* x = t.x;
  const int64_t d = t.d;
  for (int64_t s = 0; 8 * s < t.k; ++s) {
    Eight<kBits> eight[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) eight[v].load(t.w, v, s);
    const auto element = [&](int k) __attribute__((always_inline)) {
      __m512 table[kRegisters];
#pragma GCC unroll 2
      for (int r = 0; r < kRegisters; ++r) table[r] = _mm512_setzero_ps();
      for (int64_t e = 0; e < d; ++e) {
        const __m512 xe = _mm512_set1_ps(x[e]);
#pragma GCC unroll 2
        for (int r = 0; r < kRegisters; ++r)
          table[r] =
              _mm512_fmadd_ps(xe, _mm512_loadu_ps(t.w.table + (e * kRegisters + r) * 16), table[r]);
      }
      x += d;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        acc[v] = _mm512_add_ps(acc[v], look_up<kRegisters>(table, eight[v].low()));
        eight[v].next(k);
      }
    };
    const int64_t count = t.k - 8 * s < 8 ? t.k - 8 * s : 8;
    if (kUnrolled && count == 8) {
      if constexpr (kUnrolled) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) element(k);
      }
    } else {
#pragma GCC unroll 1
      for (int k = 0; k < count; ++k) element(k);
    }
  }
  const __mmask16 tail = static_cast<__mmask16>(0xffffu >> (16 - t.tail));
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v)
    _mm512_mask_storeu_ps(t.y + 16 * v, v + 1 < kVectors ? static_cast<__mmask16>(0xffff) : tail,
                          acc[v]);
}

template <int kBits, bool kScaled, bool kOrdered>
inline void fill_any(const PackedFill& f) {
  __m512 table[registers_of(kBits)];
  load_table<kBits>(f.w.table, table);
  const __m512 scale = kScaled ? _mm512_loadu_ps(f.w.scale) : _mm512_setzero_ps();
  float* dst = f.dst;
  for (int64_t k = 0; k < f.k; k += 8) {
    Eight<kBits> eight;
    eight.load(f.w, 0, (f.k0 + k) / 8);
    const int64_t count = f.k - k < 8 ? f.k - k : 8;
    const auto element = [&](int64_t i) __attribute__((always_inline)) {
      __m512 value = look_up<registers_of(kBits)>(table, eight.low());
      if constexpr (kScaled) value = _mm512_mul_ps(value, scale);
      if constexpr (kOrdered) dst = f.dst + f.order[k + i] * f.ks;
      _mm512_storeu_ps(dst, value);
      eight.next(static_cast<int>(i));
      dst += f.ks;
    };
    if (count == 8) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) element(i);
    } else {
#pragma GCC unroll 1
      for (int64_t i = 0; i < count; ++i) element(i);
    }
  }
}

template <int kBits>
void fill(const PackedFill& f) {
  if (f.order) {
    f.w.scale ? fill_any<kBits, true, true>(f) : fill_any<kBits, false, true>(f);
  } else {
    f.w.scale ? fill_any<kBits, true, false>(f) : fill_any<kBits, false, false>(f);
  }
}

template <int kBits>
void vector_fill(const PackedFill& f) {
  constexpr int kRegisters = registers_of(kBits);
  for (int64_t s = f.k0 / f.d / 8; 8 * s * f.d < f.k0 + f.k; ++s) {
    Eight<kBits> eight;
    eight.load(f.w, 0, s);
    for (int i = 0; i < 8; ++i) {
      const int64_t first = (8 * s + i) * f.d - f.k0;
      for (int64_t e = 0; e < f.d; ++e) {
        const int64_t k = first + e;
        if (k < 0 || k >= f.k) continue;
        __m512 table[kRegisters];
#pragma GCC unroll 2
        for (int r = 0; r < kRegisters; ++r)
          table[r] = _mm512_loadu_ps(f.w.table + (e * kRegisters + r) * 16);
        _mm512_storeu_ps(f.dst + (f.order ? f.order[k] : k) * f.ks,
                         look_up<kRegisters>(table, eight.low()));
      }
      eight.next(i);
    }
  }
}

// Accumulators, decoded vectors and index planes of a tile, with the table, must fit.
template <int kBits, int kRows, int kVectors>
constexpr auto pick() -> void (*)(const PackedTile&) {
  constexpr int kUsed =
      kVectors * (kRows + 2 + (kBits > 4 ? 1 : 0)) + registers_of(kBits) + 1 + (kBits > 5 ? 2 : 0);
  if constexpr (kUsed <= 32)
    return tile<kBits, kRows, kVectors>;
  else
    return nullptr;
}

#define TESSERA_VECTORS(bits, rows) \
  { pick<bits, rows, 1>(), pick<bits, rows, 2>(), pick<bits, rows, 4>(), pick<bits, rows, 8>() }
#define TESSERA_ROWS(bits)                                                            \
  {                                                                                   \
    TESSERA_VECTORS(bits, 1), TESSERA_VECTORS(bits, 2), TESSERA_VECTORS(bits, 3),     \
        TESSERA_VECTORS(bits, 4), TESSERA_VECTORS(bits, 5), TESSERA_VECTORS(bits, 6), \
        TESSERA_VECTORS(bits, 7), TESSERA_VECTORS(bits, 8)                            \
  }

#define TESSERA_VECTOR_TILES(bits) \
  { vector_tile<bits, 1>, vector_tile<bits, 2>, vector_tile<bits, 4>, vector_tile<bits, 8> }

}  // namespace

extern "C" const PackedKernels tessera_packed_avx512 = {
    "avx512",
    {TESSERA_ROWS(1), TESSERA_ROWS(2), TESSERA_ROWS(3), TESSERA_ROWS(4), TESSERA_ROWS(5),
     TESSERA_ROWS(6)},
    {fill<1>, fill<2>, fill<3>, fill<4>, fill<5>, fill<6>},
    {vector_fill<1>, vector_fill<2>, vector_fill<3>, vector_fill<4>, vector_fill<5>},
    {TESSERA_VECTOR_TILES(1), TESSERA_VECTOR_TILES(2), TESSERA_VECTOR_TILES(3),
     TESSERA_VECTOR_TILES(4), TESSERA_VECTOR_TILES(5)}};

}  // namespace tessera
