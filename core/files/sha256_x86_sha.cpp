// SHA-256's function of a block with the SHA instructions: two rounds each, on a state held as
// (A B E F) and (C D G H).
#include "core/files/sha256_blocks.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace tessera {

extern "C" void tessera_sha256_x86_sha(uint32_t* state, const unsigned char* data, int64_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  const auto* from = reinterpret_cast<const __m128i*>(state);
  const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(from), 0xb1);
  const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(from + 1), 0x1b);
  __m128i abef = _mm_alignr_epi8(badc, hgfe, 8);
  __m128i cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
  for (; blocks > 0; --blocks, data += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i words[4];  // the last 16 of the schedule
    for (int i = 0; i < 4; ++i) {
      const auto* at = reinterpret_cast<const __m128i*>(data + 16 * i);
      words[i] = _mm_shuffle_epi8(_mm_loadu_si128(at), big_endian);
    }
    for (int i = 0; i < 16; ++i) {
      __m128i& now = words[i & 3];
      if (i >= 4) {
        const __m128i last = words[(i + 3) & 3];
        const __m128i seven_back = _mm_alignr_epi8(last, words[(i + 2) & 3], 4);
        now = _mm_sha256msg2_epu32(
            _mm_add_epi32(_mm_sha256msg1_epu32(now, words[(i + 1) & 3]), seven_back), last);
      }
      const auto* rounds = reinterpret_cast<const __m128i*>(kSha256Rounds + 4 * i);
      const __m128i sum = _mm_add_epi32(now, _mm_loadu_si128(rounds));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  auto* to = reinterpret_cast<__m128i*>(state);
  _mm_storeu_si128(to, _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(to + 1, _mm_alignr_epi8(dchg, feba, 8));
}

}  // namespace tessera

#endif
