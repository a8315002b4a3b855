// Dot products of int8_avx2-inl.h without VNNI. vpmaddubsw adds two products in 16 bits, which
// 255 * 127 * 2 does not fit: the high and the low half of a byte of x are multiplied apart. Eight
// quads of 15 * 128 * 2 do fit. Included inside anonymous namespaces (no include guard, no
// linkage).

struct Dot {
  static constexpr bool kTurns = false;
  static constexpr int kMostRows = 2;
  static constexpr int kVectors[13] = {0, 2, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 1};
  struct X {
    __m256i low, high;
  };
  static inline X broadcast(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return quads(_mm256_set1_epi32(four));
  }
  static inline X quads(__m256i x) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x, mask), _mm256_and_si256(_mm256_srli_epi16(x, 4), mask)};
  }
  struct Sum {
    __m256i sum, low, high;  // of all steps, and of this one
    inline void clear() { sum = low = high = _mm256_setzero_si256(); }
    inline void add(X x, __m256i w) {
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(x.low, w));
      high = _mm256_add_epi16(high, _mm256_maddubs_epi16(x.high, w));
    }
    inline void end_step() {
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(high, _mm256_set1_epi16(16)));
      low = high = _mm256_setzero_si256();
    }
    inline __m256i total() const { return sum; }
  };
};
