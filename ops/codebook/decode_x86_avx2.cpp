// Codebook decoding for AVX2: 8 indices at a time, tables of up to 32 floats in registers.
#include <immintrin.h>

#include "ops/codebook/decode_kernels.h"

namespace tessera {
namespace {

#include "ops/codebook/decode_tail-inl.h"

// Where lane i finds the two bytes that hold its index, and how far to shift them. 8 indices take
// `bits` whole bytes, so the same for every step of a span.
struct Unpack {
  __m256i bytes, shift, mask;
};

inline Unpack unpack_for(int64_t first, int bits) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i bit = _mm256_add_epi32(_mm256_mullo_epi32(lane, _mm256_set1_epi32(bits)),
                                       _mm256_set1_epi32(static_cast<int>(first * bits & 7)));
  const __m256i byte = _mm256_srli_epi32(bit, 3);
  const __m256i both =
      _mm256_or_si256(byte, _mm256_slli_epi32(_mm256_add_epi32(byte, _mm256_set1_epi32(1)), 8));
  return {_mm256_or_si256(both, _mm256_set1_epi32(static_cast<int>(0x80800000u))),
          _mm256_and_si256(bit, _mm256_set1_epi32(7)), _mm256_set1_epi32((1 << bits) - 1)};
}

inline __m256i next_indices(const uint8_t* p, const Unpack& u) {
  const __m256i raw =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(raw, u.bytes), u.shift), u.mask);
}

template <int kRegisters>
inline __m256 look_up(const __m256 (&table)[kRegisters], __m256i index) {
  const __m256 low = _mm256_permutevar8x32_ps(table[0], index);
  if constexpr (kRegisters == 1) {
    return low;
  } else {
    const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    const __m256 half = _mm256_blendv_ps(low, _mm256_permutevar8x32_ps(table[1], index), bit3);
    if constexpr (kRegisters == 2) {
      return half;
    } else {
      const __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
      const __m256 upper = _mm256_blendv_ps(_mm256_permutevar8x32_ps(table[2], index),
                                            _mm256_permutevar8x32_ps(table[3], index), bit3);
      return _mm256_blendv_ps(half, upper, bit4);
    }
  }
}

template <int kRegisters>
int64_t decode_registers(const DecodeSpan& s) {
  __m256 table[kRegisters];
  for (int i = 0; i < kRegisters; ++i) table[i] = _mm256_loadu_ps(s.table.values + 8 * i);
  const Unpack u = unpack_for(s.first, s.bits);
  int64_t byte = s.first * s.bits >> 3, i = 0;
  for (; i + 8 <= s.count && byte + 16 <= s.bytes; i += 8, byte += s.bits)
    _mm256_storeu_ps(s.out + i, look_up(table, next_indices(s.indices + byte, u)));
  return i;
}

int64_t decode_memory(const DecodeSpan& s) {
  const Unpack u = unpack_for(s.first, s.bits);
  const float* table = s.table.values;
  int64_t byte = s.first * s.bits >> 3, i = 0;
  alignas(32) uint32_t index[8];
  for (; i + 8 <= s.count && byte + 16 <= s.bytes; i += 8, byte += s.bits) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(index), next_indices(s.indices + byte, u));
    if (s.vector_len == 1) {
      for (int j = 0; j < 8; ++j) s.out[i + j] = table[index[j]];
    } else if (s.vector_len == 4) {
      for (int j = 0; j < 8; ++j)
        _mm_storeu_ps(s.out + 4 * (i + j), _mm_loadu_ps(table + 4 * index[j]));
    } else {
      for (int j = 0; j < 8; ++j)
        for (int e = 0; e < s.vector_len; ++e)
          s.out[(i + j) * s.vector_len + e] = table[index[j] * s.vector_len + e];
    }
  }
  return i;
}

void decode(const DecodeSpan& s) {
  int64_t done = 0;
  if (s.vector_len == 1 && s.bits <= 3)
    done = decode_registers<1>(s);
  else if (s.vector_len == 1 && s.bits == 4)
    done = decode_registers<2>(s);
  else if (s.vector_len == 1 && s.bits == 5)
    done = decode_registers<4>(s);
  else
    done = decode_memory(s);
  decode_rest(s, done);
}

void multiply(float* values, int64_t count, float factor) {
  const __m256 f = _mm256_set1_ps(factor);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(values + i, _mm256_mul_ps(_mm256_loadu_ps(values + i), f));
  for (; i < count; ++i) values[i] *= factor;
}

void segment_sums(const SegmentSpan& s) {
  segment_sums_any(s);
}

}  // namespace

extern "C" const DecodeKernels tessera_decode_avx2 = {"avx2", decode, multiply, segment_sums};

}  // namespace tessera
