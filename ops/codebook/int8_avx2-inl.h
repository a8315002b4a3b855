// Lanes of int8_body-inl.h for AVX2, but for X, broadcast and Sum, which a struct Dot has: included
// inside anonymous namespaces (no include guard, no linkage).

template <int kForm>
struct Look {
  static constexpr int kTables = kForm <= 4 ? 1 : kForm == 8 ? 1 : 1 << (kForm - 4);
  __m256i table[kTables];
  inline void load(const int8_t* t) {
    if constexpr (kForm == 8) return;
#pragma GCC unroll 4
    for (int i = 0; i < kTables; ++i)
      table[i] = _mm256_broadcastsi128_si256(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(t + 16 * i)));
  }
  inline __m256i look_up(__m256i index) const {
    if constexpr (kForm == 8) return index;
    const __m256i low = _mm256_and_si256(index, _mm256_set1_epi8(15));
    __m256i found = _mm256_shuffle_epi8(table[0], low);
    if constexpr (kTables > 1) {
      const __m256i four = _mm256_slli_epi16(index, 3);  // to the sign
      found = _mm256_blendv_epi8(found, _mm256_shuffle_epi8(table[1], low), four);
      if constexpr (kTables > 2) {
        const __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[2], low),
                                                 _mm256_shuffle_epi8(table[3], low), four);
        found = _mm256_blendv_epi8(found, upper, _mm256_slli_epi16(index, 2));
      }
    }
    return found;
  }
};

#include "ops/codebook/int8_range-inl.h"

struct Lanes : Dot {
  using Reg = __m256i;
  using Float = __m256;
  template <int kForm>
  using Table = Look<kForm>;
  static constexpr int kLanes = 8, kHalves = 2;

  static inline Reg load(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static inline void store(void* p, Reg r) { _mm256_storeu_si256(static_cast<__m256i*>(p), r); }
  static inline Float load_floats(const void* p) {
    return _mm256_loadu_ps(static_cast<const float*>(p));
  }
  static inline Float load_floats(const void* p, int n) {
    return _mm256_maskload_ps(static_cast<const float*>(p), first(n));
  }
  static inline Reg first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  template <int kRight>
  static inline Reg shift(Reg r) {
    if constexpr (kRight > 0) return _mm256_srli_epi16(r, kRight);
    if constexpr (kRight < 0) return _mm256_slli_epi16(r, -kRight);
    return r;
  }
  // The bits of kMask from a, the others from b.
  template <int kMask>
  static inline Reg low(Reg a, Reg b) {
    const Reg mask = _mm256_set1_epi8(kMask);
    return _mm256_or_si256(_mm256_and_si256(mask, a), _mm256_andnot_si256(mask, b));
  }
  static inline Reg add(Reg a, Reg b) { return _mm256_add_epi32(a, b); }
  // A quad for each of eight channels from `lane` on, a byte of each row.
  static inline Dot::X columns(const uint8_t* a, const uint8_t* b, const uint8_t* c,
                               const uint8_t* d, int lane) {
    const auto row = [lane](const uint8_t* p) {
      return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + lane));
    };
    const __m128i ab = _mm_unpacklo_epi8(row(a), row(b)), cd = _mm_unpacklo_epi8(row(c), row(d));
    return Dot::quads(_mm256_set_m128i(_mm_unpackhi_epi16(ab, cd), _mm_unpacklo_epi16(ab, cd)));
  }

  static inline void finish(Reg total, Reg sums, Float scale, int32_t zero, float x_scale, float* y,
                            int filled, bool accumulate) {
    const Reg exact = _mm256_sub_epi32(total, _mm256_mullo_epi32(sums, _mm256_set1_epi32(zero)));
    const Float value = _mm256_cvtepi32_ps(exact);
    const Float factor = _mm256_mul_ps(scale, _mm256_set1_ps(x_scale));
    const Reg mask = first(filled);
    _mm256_maskstore_ps(y, mask,
                        accumulate ? _mm256_fmadd_ps(value, factor, _mm256_maskload_ps(y, mask))
                                   : _mm256_mul_ps(value, factor));
  }

  static inline Reg times(Reg sums, int32_t zero) {
    return _mm256_mullo_epi32(sums, _mm256_set1_epi32(zero));
  }
  static inline Float times(Float scale, float x_scale) {
    return _mm256_mul_ps(scale, _mm256_set1_ps(x_scale));
  }
  static inline Float scaled(Reg total, Reg zeros, Float factor) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(total, zeros)), factor);
  }
  static inline void store_floats(float* y, Float x) { _mm256_storeu_ps(y, x); }
  // As programs are compiled: multiplied and added in one rounding.
  static inline Float affine(Float x, Float mul, Float add, float low, float high) {
    return _mm256_min_ps(_mm256_set1_ps(high),
                         _mm256_max_ps(_mm256_set1_ps(low), _mm256_fmadd_ps(x, mul, add)));
  }

  // As int8_range-inl.h has it.
  struct Ranges {
    Reg high = _mm256_setzero_si256(), low = high;
    inline void take(Float x) {
      high = _mm256_max_epi32(high, _mm256_castps_si256(x));
      low = _mm256_max_epu32(low, _mm256_castps_si256(x));
    }
    inline void into(uint32_t* seen, int lane) const {
      store(seen + lane, _mm256_max_epi32(high, load(seen + lane)));
      store(seen + 16 + lane, _mm256_max_epu32(low, load(seen + 16 + lane)));
    }
    inline Range all() const {
      int32_t h[8], high_all = 0;
      uint32_t l[8], low_all = 0;
      store(h, high);
      store(l, low);
      for (int i = 0; i < 8; ++i) {
        high_all = h[i] > high_all ? h[i] : high_all;
        low_all = l[i] > low_all ? l[i] : low_all;
      }
      return range_of(high_all, low_all);
    }
  };
  static inline void store_bytes(uint8_t* q, Float x, float inverse, int32_t zero, int n) {
    uint64_t all = bytes(x, inverse, zero);
    if (n < 8) all &= (uint64_t{1} << 8 * n) - 1;
    __builtin_memcpy(q, &all, 8);
  }
  static inline uint64_t bytes(Float x, float inverse, int32_t zero) {
    const Reg w = whole(x, inverse, zero);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(words, words)));
  }
  static inline Reg whole(Float x, float inverse, int32_t zero) {
    return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(inverse))),
                            _mm256_set1_epi32(zero));
  }
  // n bytes and no more, a multiple of 4.
  static inline void store_quads(uint8_t* q, Float x, float inverse, int32_t zero, int n) {
    const uint64_t all = bytes(x, inverse, zero);
    const uint32_t high = static_cast<uint32_t>(all >> 32);
    __builtin_memcpy(q, &all, 4);
    if (n > 4) __builtin_memcpy(q + 4, &high, 4);
  }
  // The bytes as 32-bit lanes, shifted to their place in a quad.
  template <int kByte>
  static inline Reg in_quads(Float x, float inverse, int32_t zero) {
    const Reg byte = _mm256_min_epi32(
        _mm256_max_epi32(whole(x, inverse, zero), _mm256_setzero_si256()), _mm256_set1_epi32(255));
    return _mm256_slli_epi32(byte, 8 * kByte);
  }
  static inline Reg both(Reg a, Reg b) { return _mm256_or_si256(a, b); }
};
