// Lanes of int8_body-inl.h for AVX-512 VNNI, but for the table: included inside anonymous
// namespaces (no include guard, no linkage), after a template Table<form>.

#include "ops/codebook/int8_range-inl.h"

struct Lanes {
  using Reg = __m512i;
  using Float = __m512;
  using X = __m512i;
  template <int kForm>
  using Table = Look<kForm>;
  static constexpr int kLanes = 16, kHalves = 1;
  static constexpr bool kTurns = true;
  static constexpr int kMostRows = 12;
  static constexpr int kVectors[13] = {0, 8, 4, 4, 4, 0, 3, 0, 2, 0, 0, 0, 2};

  static inline Reg load(const void* p) { return _mm512_loadu_si512(p); }
  static inline void store(void* p, Reg r) { _mm512_storeu_si512(p, r); }
  static inline Float load_floats(const void* p) { return _mm512_loadu_ps(p); }
  static inline Float load_floats(const void* p, int n) {
    return _mm512_maskz_loadu_ps(first(n), p);
  }
  static inline __mmask16 first(int n) {
    return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1);
  }
  template <int kRight>
  static inline Reg shift(Reg r) {
    if constexpr (kRight > 0) return _mm512_srli_epi16(r, kRight);
    if constexpr (kRight < 0) return _mm512_slli_epi16(r, -kRight);
    return r;
  }
  // The bits of kMask from a, the others from b.
  template <int kMask>
  static inline Reg low(Reg a, Reg b) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(kMask), a, b, 0xca);
  }
  static inline Reg add(Reg a, Reg b) { return _mm512_add_epi32(a, b); }
  static inline X broadcast(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
  }

  // A quad for each of sixteen channels, a byte of each row.
  static inline X columns(const uint8_t* a, const uint8_t* b, const uint8_t* c, const uint8_t* d,
                          int) {
    const auto row = [](const uint8_t* p) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    };
    __m512i rows = _mm512_castsi128_si512(row(a));
    rows = _mm512_inserti32x4(rows, row(b), 1);
    rows = _mm512_inserti32x4(rows, row(c), 2);
    rows = _mm512_inserti32x4(rows, row(d), 3);
    // Four channels of all rows side by side, then in turn.
    const __m512i fours = _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), rows);
    return _mm512_shuffle_epi8(fours, _mm512_broadcast_i32x4(_mm_setr_epi8(
                                          0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
  }

  struct Sum {
    Reg sum;
    inline void clear() { sum = _mm512_setzero_si512(); }
    inline void add(X x, Reg w) { sum = _mm512_dpbusd_epi32(sum, x, w); }
    inline void end_step() {}
    inline Reg total() const { return sum; }
  };

  static inline void finish(Reg total, Reg sums, Float scale, int32_t zero, float x_scale, float* y,
                            int filled, bool accumulate) {
    const Reg exact = _mm512_sub_epi32(total, _mm512_mullo_epi32(sums, _mm512_set1_epi32(zero)));
    const Float value = _mm512_cvtepi32_ps(exact);
    const Float factor = _mm512_mul_ps(scale, _mm512_set1_ps(x_scale));
    const __mmask16 mask = first(filled);
    _mm512_mask_storeu_ps(y, mask,
                          accumulate
                              ? _mm512_fmadd_ps(value, factor, _mm512_maskz_loadu_ps(mask, y))
                              : _mm512_mul_ps(value, factor));
  }

  static inline Reg times(Reg sums, int32_t zero) {
    return _mm512_mullo_epi32(sums, _mm512_set1_epi32(zero));
  }
  static inline Float times(Float scale, float x_scale) {
    return _mm512_mul_ps(scale, _mm512_set1_ps(x_scale));
  }
  static inline Float scaled(Reg total, Reg zeros, Float factor) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(total, zeros)), factor);
  }
  static inline void store_floats(float* y, Float x) { _mm512_storeu_ps(y, x); }
  // As programs are compiled: multiplied and added in one rounding.
  static inline Float affine(Float x, Float mul, Float add, float low, float high) {
    return _mm512_min_ps(_mm512_set1_ps(high),
                         _mm512_max_ps(_mm512_set1_ps(low), _mm512_fmadd_ps(x, mul, add)));
  }

  // As int8_range-inl.h has it.
  struct Ranges {
    Reg high = _mm512_setzero_si512(), low = high;
    inline void take(Float x) {
      high = _mm512_max_epi32(high, _mm512_castps_si512(x));
      low = _mm512_max_epu32(low, _mm512_castps_si512(x));
    }
    inline void into(uint32_t* seen, int) const {
      _mm512_storeu_si512(seen, _mm512_max_epi32(high, _mm512_loadu_si512(seen)));
      _mm512_storeu_si512(seen + 16, _mm512_max_epu32(low, _mm512_loadu_si512(seen + 16)));
    }
    inline Range all() const {
      return range_of(_mm512_reduce_max_epi32(high), _mm512_reduce_max_epu32(low));
    }
  };
  static inline void store_bytes(uint8_t* q, Float x, float inverse, int32_t zero, int n) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q),
                     _mm_maskz_mov_epi8(first(n), bytes(x, inverse, zero)));
  }
  static inline __m128i bytes(Float x, float inverse, int32_t zero) {
    return _mm512_cvtusepi32_epi8(
        _mm512_max_epi32(whole(x, inverse, zero), _mm512_setzero_si512()));
  }
  static inline Reg whole(Float x, float inverse, int32_t zero) {
    return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, _mm512_set1_ps(inverse))),
                            _mm512_set1_epi32(zero));
  }
  // n bytes and no more, a multiple of 4.
  static inline void store_quads(uint8_t* q, Float x, float inverse, int32_t zero, int n) {
    const __m128i all = bytes(x, inverse, zero);
    if (n >= 16)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(q), all);
    else
      _mm_mask_storeu_epi8(q, first(n), all);
  }
  // Four vectors, side by side.
  static inline void store_line(uint8_t* q, const Float (&x)[4], float inverse, int32_t zero) {
    const __m512i even = _mm512_packs_epi32(whole(x[0], inverse, zero), whole(x[1], inverse, zero));
    const __m512i odd = _mm512_packs_epi32(whole(x[2], inverse, zero), whole(x[3], inverse, zero));
    _mm512_storeu_si512(q, _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2,
                                                                      6, 10, 14, 3, 7, 11, 15),
                                                    _mm512_packus_epi16(even, odd)));
  }
  // The bytes as 32-bit lanes, shifted to their place in a quad.
  template <int kByte>
  static inline Reg in_quads(Float x, float inverse, int32_t zero) {
    const Reg byte = _mm512_min_epi32(
        _mm512_max_epi32(whole(x, inverse, zero), _mm512_setzero_si512()), _mm512_set1_epi32(255));
    return _mm512_slli_epi32(byte, 8 * kByte);
  }
  static inline Reg both(Reg a, Reg b) { return _mm512_or_si512(a, b); }
};
