// Codebook decoding with VBMI: for 6 to 8 bits, 64 indices at a time are looked up in the four
// byte planes of the table, which are exact for f32 and fit 4 to 16 registers.
#include <immintrin.h>

#include "ops/codebook/decode_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/decode_tail-inl.h"
// (uses the one above)
#include "ops/codebook/decode_avx512-inl.h"
// (stands alone)
#include "ops/codebook/look_up_vbmi-inl.h"

// 64 indices take 8 * bits bytes. The unpacking gives each group of 8 indices the 8 bytes that
// hold it, and each index its 8 bits of them.
struct Unpack64 {
  __m512i bytes, shift, mask;
};

inline Unpack64 unpack64_for(int64_t first, int bits) {
  constexpr int64_t kOnes = 0x0101010101010101, kCount = 0x0706050403020100;
  const __m512i group = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
  const __m512i base = _mm512_mullo_epi64(group, _mm512_set1_epi64(bits * kOnes));
  return {_mm512_add_epi64(base, _mm512_set1_epi64(kCount)),
          _mm512_set1_epi64((first * bits & 7) * kOnes + bits * kCount),
          _mm512_set1_epi8(static_cast<char>((1 << bits) - 1))};
}

template <int kRegisters>
int64_t decode_planes(const DecodeSpan& s) {
  __m512i plane[4][kRegisters];
  load_planes<kRegisters>(s.table.planes, plane);
  const Unpack64 u = unpack64_for(s.first, s.bits);
  // The byte interleaving below works in 128-bit lanes: it wants index 16 j + 4 l + e at byte
  // 16 l + 4 j + e.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  int64_t byte = s.first * s.bits >> 3, i = 0;
  for (; i + 64 <= s.count && byte + 64 <= s.bytes; i += 64, byte += 8 * s.bits) {
    const __m512i raw = _mm512_loadu_si512(s.indices + byte);
    __m512i index = _mm512_multishift_epi64_epi8(u.shift, _mm512_permutexvar_epi8(u.bytes, raw));
    index = _mm512_permutexvar_epi32(order, _mm512_and_si512(index, u.mask));
    __m512i bits[4];
    look_up_floats<kRegisters>(plane, index, bits);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) _mm512_storeu_si512(s.out + i + 16 * j, bits[j]);
  }
  return i;
}

void decode(const DecodeSpan& s) {
  int64_t done = 0;
  if (s.vector_len == 1 && s.bits == 6)
    done = decode_planes<1>(s);
  else if (s.vector_len == 1 && s.bits == 7)
    done = decode_planes<2>(s);
  else if (s.vector_len == 1 && s.bits == 8)
    done = decode_planes<4>(s);
  // The rest, and everything else, 16 at a time.
  DecodeSpan rest = s;
  rest.first += done;
  rest.count -= done;
  rest.out += done * s.vector_len;
  decode_rest(rest, decode_common(rest));
}

}  // namespace

extern "C" const DecodeKernels tessera_decode_avx512vbmi = {"avx512vbmi", decode, multiply_span,
                                                            segment_sums_span};

}  // namespace tessera
