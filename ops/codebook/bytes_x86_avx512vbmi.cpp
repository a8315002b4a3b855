// Decoding of byte panels with VBMI: 64 indices at a time are looked up in the four byte planes of
// the table, which are exact for f32 and fit 4 to 16 registers.
#include <immintrin.h>

#include "ops/codebook/byte_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/look_up_vbmi-inl.h"

template <int kRegisters>
void fill(const ByteFill& f) {
  const __m512 scale = f.scale ? _mm512_loadu_ps(f.scale) : _mm512_set1_ps(1.0f);
  for (int64_t e = 0; e < f.d; ++e) {
    __m512i plane[4][kRegisters];
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b)
#pragma GCC unroll 4
      for (int i = 0; i < kRegisters; ++i)
        plane[b][i] = _mm512_loadu_si512(f.table + 64 * ((e * 4 + b) * kRegisters + i));
    for (int64_t s = f.k0 / f.d / 4; 4 * s * f.d < f.k0 + f.k; ++s) {
      const __m512i index = _mm512_loadu_si512(f.steps + 64 * s);
      const __m512i b0 = look_up<kRegisters>(plane[0], index);
      const __m512i b1 = look_up<kRegisters>(plane[1], index);
      const __m512i b2 = look_up<kRegisters>(plane[2], index);
      const __m512i b3 = look_up<kRegisters>(plane[3], index);
      const __m512i low0 = _mm512_unpacklo_epi8(b0, b1), low1 = _mm512_unpackhi_epi8(b0, b1);
      const __m512i high0 = _mm512_unpacklo_epi8(b2, b3), high1 = _mm512_unpackhi_epi8(b2, b3);
      const __m512i words[4] = {
          _mm512_unpacklo_epi16(low0, high0), _mm512_unpackhi_epi16(low0, high0),
          _mm512_unpacklo_epi16(low1, high1), _mm512_unpackhi_epi16(low1, high1)};
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const int64_t k = (4 * s + j) * f.d + e - f.k0;
        if (k < 0 || k >= f.k) continue;
        __m512 value = _mm512_castsi512_ps(words[j]);
        if (f.scale) value = _mm512_mul_ps(value, scale);
        _mm512_storeu_ps(f.dst + (f.order ? f.order[k] : k) * f.ks, value);
      }
    }
  }
}

}  // namespace

extern "C" void tessera_byte_fill_avx512vbmi(const ByteFill& f) {
  f.bits <= 6 ? fill<1>(f) : f.bits == 7 ? fill<2>(f) : fill<4>(f);
}

}  // namespace tessera
