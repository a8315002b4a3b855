// Dot products of int8_avx2-inl.h by AVX-VNNI: included inside anonymous namespaces (no include
// guard, no linkage).

struct Dot {
  static constexpr bool kTurns = true;
  static constexpr int kMostRows = 4;
  static constexpr int kVectors[13] = {0, 4, 2, 2, 1, 0, 1, 0, 1, 0, 0, 0, 1};
  using X = __m256i;
  static inline X broadcast(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return quads(_mm256_set1_epi32(four));
  }
  static inline X quads(__m256i x) { return x; }
  struct Sum {
    __m256i sum;
    inline void clear() { sum = _mm256_setzero_si256(); }
    inline void add(X x, __m256i w) { sum = _mm256_dpbusd_avx_epi32(sum, x, w); }
    inline void end_step() {}
    inline __m256i total() const { return sum; }
  };
};
