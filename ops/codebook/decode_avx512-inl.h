// The AVX-512 decoders, included by the files with and without VBMI inside their own anonymous
// namespaces (no include guard, no linkage).

// Where lane i finds the two bytes that hold its index, and how far to shift them. 16 elements
// take a whole number of bytes (vector_len 1 or 2), so the same for every step of a span. With two
// elements an index, neighbours share one.
struct Unpack {
  __m512i bytes, shift;
};

inline Unpack unpack_for(int64_t first, int bits, int vector_len) {
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i element = vector_len == 2 ? _mm512_srli_epi32(lane, 1) : lane;
  const __m512i bit = _mm512_add_epi32(_mm512_mullo_epi32(element, _mm512_set1_epi32(bits)),
                                       _mm512_set1_epi32(static_cast<int>(first * bits & 7)));
  const __m512i byte = _mm512_srli_epi32(bit, 3);
  // byte, byte + 1, and two zero bytes. The last of 16 8-bit indices has no second byte: it gets
  // the first one instead, beyond the bits that count.
  const __m512i both =
      _mm512_or_si512(byte, _mm512_slli_epi32(_mm512_add_epi32(byte, _mm512_set1_epi32(1)), 8));
  return {_mm512_or_si512(both, _mm512_set1_epi32(static_cast<int>(0x80800000u))),
          _mm512_and_si512(bit, _mm512_set1_epi32(7))};
}

inline __m512i next_words(const uint8_t* p, const Unpack& u) {
  const __m512i raw = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm512_srlv_epi32(_mm512_shuffle_epi8(raw, u.bytes), u.shift);
}

// The float that the low log2(16 * kRegisters) bits of each lane select; higher bits are ignored.
template <int kRegisters>
inline __m512 look_up(const __m512* table, __m512i index) {
  if constexpr (kRegisters == 1) {
    return _mm512_permutexvar_ps(index, table[0]);
  } else if constexpr (kRegisters == 2) {
    return _mm512_permutex2var_ps(table[0], index, table[1]);
  } else {
    const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(8 * kRegisters));
    return _mm512_mask_blend_ps(upper, look_up<kRegisters / 2>(table, index),
                                look_up<kRegisters / 2>(table + kRegisters / 2, index));
  }
}

template <int kRegisters, int kVectorLen>
int64_t decode_registers(const DecodeSpan& s) {
  __m512 table[kRegisters];
#pragma GCC unroll 16
  for (int i = 0; i < kRegisters; ++i) table[i] = _mm512_loadu_ps(s.table.values + 16 * i);
  const Unpack u = unpack_for(s.first, s.bits, kVectorLen);
  const __m512i mask = _mm512_set1_epi32((1 << s.bits) - 1);
  const __m512i odd = _mm512_set4_epi32(1, 0, 1, 0);
  constexpr int kStep = 16 / kVectorLen;
  int64_t byte = s.first * s.bits >> 3, i = 0;
  for (; i + kStep <= s.count && byte + 16 <= s.bytes; i += kStep, byte += s.bits * kStep / 8) {
    __m512i index = next_words(s.indices + byte, u);
    if constexpr (kVectorLen == 2) {
      index = _mm512_and_si512(index, mask);
      index = _mm512_add_epi32(_mm512_add_epi32(index, index), odd);
    }
    _mm512_storeu_ps(s.out + i * kVectorLen, look_up<kRegisters>(table, index));
  }
  return i;
}

// Entries of 4, 8 or 16 floats are copied whole: one load an index.
template <int kVectorLen>
int64_t decode_vectors(const DecodeSpan& s) {
  for (int64_t i = 0; i < s.count; ++i) {
    const float* entry = s.table.values + stream_index(s.indices, s.first + i, s.bits) * kVectorLen;
    float* out = s.out + i * kVectorLen;
    if constexpr (kVectorLen == 4) _mm_storeu_ps(out, _mm_loadu_ps(entry));
    if constexpr (kVectorLen == 8) _mm256_storeu_ps(out, _mm256_loadu_ps(entry));
    if constexpr (kVectorLen == 16) _mm512_storeu_ps(out, _mm512_loadu_ps(entry));
  }
  return s.count;
}

inline int64_t decode_common(const DecodeSpan& s) {
  if (s.vector_len == 4) return decode_vectors<4>(s);
  if (s.vector_len == 8) return decode_vectors<8>(s);
  if (s.vector_len == 16) return decode_vectors<16>(s);
  if (s.vector_len > 2) return 0;
  const bool pair = s.vector_len == 2;
  switch (s.bits + (pair ? 1 : 0)) {
    case 1:
    case 2:
    case 3:
    case 4:
      return pair ? decode_registers<1, 2>(s) : decode_registers<1, 1>(s);
    case 5:
      return pair ? decode_registers<2, 2>(s) : decode_registers<2, 1>(s);
    case 6:
      return pair ? decode_registers<4, 2>(s) : decode_registers<4, 1>(s);
    case 7:
      return pair ? decode_registers<8, 2>(s) : decode_registers<8, 1>(s);
    case 8:
      return pair ? decode_registers<16, 2>(s) : decode_registers<16, 1>(s);
    default:
      return 0;
  }
}

inline void multiply_span(float* values, int64_t count, float factor) {
  const __m512 f = _mm512_set1_ps(factor);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    _mm512_storeu_ps(values + i, _mm512_mul_ps(_mm512_loadu_ps(values + i), f));
  if (i < count) {
    const __mmask16 mask = static_cast<__mmask16>(0xffffu >> (16 - (count - i)));
    _mm512_mask_storeu_ps(values + i, mask,
                          _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, values + i), f));
  }
}

// One accumulator an entry: compare and add under the mask.
template <int kEntries>
inline void segment_sums_registers(const SegmentSpan& s) {
  __m512 sum[kEntries];
#pragma GCC unroll 16
  for (int e = 0; e < kEntries; ++e) sum[e] = _mm512_setzero_ps();
  const auto add = [&](__m512i index, __m512 value) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int e = 0; e < kEntries; ++e)
      sum[e] = _mm512_mask_add_ps(sum[e], _mm512_cmpeq_epi32_mask(index, _mm512_set1_epi32(e)),
                                  sum[e], value);
  };
  const Unpack u = unpack_for(s.first, s.bits, 1);
  const __m512i low = _mm512_set1_epi32((1 << s.bits) - 1);
  int64_t byte = s.first * s.bits >> 3, i = 0;
  for (; i + 16 <= s.count && byte + 16 <= s.bytes; i += 16, byte += 2 * s.bits)
    add(_mm512_and_si512(next_words(s.indices + byte, u), low), _mm512_loadu_ps(s.value + i));
  // Lane i % 16 again, so that where the vectors end does not matter.
  for (; i < s.count; ++i)
    add(_mm512_set1_epi32(static_cast<int>(stream_index(s.indices, s.first + i, s.bits))),
        _mm512_maskz_loadu_ps(static_cast<__mmask16>(1u << i % 16), s.value + i - i % 16));
#pragma GCC unroll 16
  for (int e = 0; e < kEntries; ++e)
    if (e < s.k) s.sums[e] += _mm512_reduce_add_ps(sum[e]);
}

inline void segment_sums_span(const SegmentSpan& s) {
  if (s.k <= 2)
    segment_sums_registers<2>(s);
  else if (s.k <= 4)
    segment_sums_registers<4>(s);
  else if (s.k <= 8)
    segment_sums_registers<8>(s);
  else if (s.k <= 16)
    segment_sums_registers<16>(s);
  else
    segment_sums_any(s);
}
