// Resizing for AVX2: products of pairs of taps by multiply-add of 16-bit numbers.
#include <immintrin.h>

#include "datasets/resize_kernels.h"

namespace tessera::datasets {
namespace {

inline __m128i load8(const void* p) {
  return _mm_loadl_epi64(static_cast<const __m128i*>(p));
}

inline __m128i load16(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

// Four taps of a pixel in one product: taps 0 and 1 in the low half, 2 and 3 in the high half.
void columns(const std::uint8_t* row, const std::int32_t* first, const std::int16_t* weights,
             int taps, int shift, std::int64_t count, std::uint8_t* out) {
  const __m256i pairs =
      _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                       -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m256i halves = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  const __m128i round = _mm_set1_epi32(1 << (shift - 1)), bits = _mm_cvtsi32_si128(shift);
  for (std::int64_t i = 0; i < count; ++i, weights += taps) {
    const std::uint8_t* pixel = row + std::int64_t{3} * first[i];
    __m256i sum = _mm256_setzero_si256();
    for (int t = 0; t < taps; t += 4) {
      const __m256i bytes = _mm256_broadcastsi128_si256(load16(pixel + 3 * t));
      const __m256i weight =
          _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(load8(weights + t)), halves);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(bytes, pairs), weight));
    }
    __m128i x = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    x = _mm_srl_epi32(_mm_add_epi32(x, round), bits);
    x = _mm_packus_epi16(_mm_packus_epi32(x, x), x);
    const auto rgb = static_cast<std::uint32_t>(_mm_cvtsi128_si32(x));
    out[3 * i] = static_cast<std::uint8_t>(rgb);
    out[3 * i + 1] = static_cast<std::uint8_t>(rgb >> 8);
    out[3 * i + 2] = static_cast<std::uint8_t>(rgb >> 16);
  }
}

// 16 bytes at j of all rows.
inline void block(const std::uint8_t* rows, std::int64_t stride, const std::int16_t* weights,
                  int taps, int shift, std::uint8_t* out) {
  __m256i low = _mm256_set1_epi32(1 << (shift - 1)), high = low;
  for (int t = 0; t < taps; t += 2) {
    const __m256i a = _mm256_cvtepu8_epi16(load16(rows + t * stride));
    const bool pair = t + 1 < taps;
    const __m256i b =
        pair ? _mm256_cvtepu8_epi16(load16(rows + (t + 1) * stride)) : _mm256_setzero_si256();
    const unsigned wa = static_cast<std::uint16_t>(weights[t]),
                   wb = pair ? static_cast<std::uint16_t>(weights[t + 1]) : 0;
    const __m256i weight = _mm256_set1_epi32(static_cast<int>(wa | wb << 16));
    low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weight));
    high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weight));
  }
  const __m128i bits = _mm_cvtsi32_si128(shift);
  const __m256i x = _mm256_packus_epi32(_mm256_srl_epi32(low, bits), _mm256_srl_epi32(high, bits));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_packus_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}

void rows(const std::uint8_t* rows, std::int64_t stride, const std::int16_t* weights, int taps,
          int shift, std::int64_t bytes, std::uint8_t* out) {
  if (bytes < 16) return tessera_resize_ref.rows(rows, stride, weights, taps, shift, bytes, out);
  for (std::int64_t j = 0; j <= bytes - 16; j += 16)
    block(rows + j, stride, weights, taps, shift, out + j);
  // The last block overlaps the one before it.
  if (bytes % 16 != 0) block(rows + bytes - 16, stride, weights, taps, shift, out + bytes - 16);
}

}  // namespace

extern "C" const ResizeKernels tessera_resize_avx2 = {"resize_avx2", columns, rows};

}  // namespace tessera::datasets
