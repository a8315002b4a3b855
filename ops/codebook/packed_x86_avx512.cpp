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

constexpr int planes_of(int bits) {
  return (bits >> 2 & 1) + (bits >> 1 & 1) + (bits & 1);
}
constexpr int registers_of(int bits) {
  return bits <= 4 ? 1 : 1 << (bits - 4);
}
// The widest plane, holding the lowest bits of the index, and the other one if there are two.
constexpr int wide_of(int bits) {
  return bits & 4 ? 4 : bits & 2 ? 2 : 1;
}
constexpr int narrow_of(int bits) {
  return bits - wide_of(bits);
}
constexpr int plane_of(int width) {
  return width == 4 ? 0 : width == 2 ? 1 : 2;
}

// The indices of 8 successive elements of 16 rows.
template <int kBits>
struct Eight {
  __m512i wide, narrow;

  // Elements from 8 * step on.
  inline void load(const PackedPanels& w, int64_t v, int64_t step) {
    const uint8_t* panel = w.panels + v * w.panel_stride;
    wide = load_plane<wide_of(kBits)>(panel + w.plane_offset[plane_of(wide_of(kBits))], step);
    if constexpr (narrow_of(kBits) != 0)
      narrow = _mm512_slli_epi32(
          load_plane<narrow_of(kBits)>(panel + w.plane_offset[plane_of(narrow_of(kBits))], step),
          wide_of(kBits));
  }

  template <int kWidth>
  static inline __m512i load_plane(const uint8_t* plane, int64_t step) {
    if constexpr (kWidth == 4) {
      return _mm512_loadu_si512(plane + 64 * step);
    } else {
      constexpr int kSteps = 4 / kWidth;  // steps one dword holds
      const __m512i word = _mm512_loadu_si512(plane + 64 * (step / kSteps));
      return _mm512_srl_epi32(word, _mm_cvtsi32_si128(step % kSteps * 8 * kWidth));
    }
  }

  // The index in the low bits of each lane; higher bits are left over.
  inline __m512i index() const {
    if constexpr (narrow_of(kBits) == 0) {
      return wide;
    } else {
      const __m512i low = _mm512_set1_epi32((1 << wide_of(kBits)) - 1);
      return _mm512_ternarylogic_epi32(low, wide, narrow, 0xca);  // low ? wide : narrow
    }
  }

  inline void next() {
    wide = _mm512_srli_epi32(wide, wide_of(kBits));
    if constexpr (narrow_of(kBits) != 0) narrow = _mm512_srli_epi32(narrow, narrow_of(kBits));
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
        w[v] = look_up<registers_of(kBits)>(table, eight[v].index());
        eight[v].next();
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

template <int kBits>
void fill(const PackedFill& f) {
  __m512 table[registers_of(kBits)];
  load_table<kBits>(f.w.table, table);
  const __m512 scale = f.w.scale ? _mm512_loadu_ps(f.w.scale) : _mm512_set1_ps(1.0f);
  float* dst = f.dst;
  for (int64_t k = 0; k < f.k; k += 8) {
    Eight<kBits> eight;
    eight.load(f.w, 0, (f.k0 + k) / 8);
    const int64_t count = f.k - k < 8 ? f.k - k : 8;
    const auto element = [&] {
      _mm512_storeu_ps(dst,
                       _mm512_mul_ps(look_up<registers_of(kBits)>(table, eight.index()), scale));
      eight.next();
      dst += f.ks;
    };
    if (count == 8) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) element();
    } else {
#pragma GCC unroll 1
      for (int64_t i = 0; i < count; ++i) element();
    }
  }
}

// Accumulators, decoded vectors and index planes of a tile, with the table, must fit.
template <int kBits, int kRows, int kVectors>
constexpr auto pick() -> void (*)(const PackedTile&) {
  constexpr int kUsed =
      kVectors * (kRows + planes_of(kBits) + 1) + registers_of(kBits) + (kBits > 4 ? 3 : 1);
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

}  // namespace

extern "C" const PackedKernels tessera_packed_avx512 = {
    "avx512",
    {TESSERA_ROWS(1), TESSERA_ROWS(2), TESSERA_ROWS(3), TESSERA_ROWS(4), TESSERA_ROWS(5),
     TESSERA_ROWS(6)},
    {fill<1>, fill<2>, fill<3>, fill<4>, fill<5>, fill<6>}};

}  // namespace tessera
