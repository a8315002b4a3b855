// Plain loops that every kernel file includes inside its own anonymous namespace (no include
// guard, no linkage): the ends of spans that whole vectors do not cover.

inline uint32_t stream_index(const uint8_t* indices, int64_t i, int bits) {
  const int64_t bit = i * bits;
  const int shift = static_cast<int>(bit & 7);
  uint32_t word = indices[bit >> 3];
  if (shift + bits > 8) word |= static_cast<uint32_t>(indices[(bit >> 3) + 1]) << 8;
  return word >> shift & ((1u << bits) - 1);
}

// Indices [done, count) of the span.
inline void decode_rest(const DecodeSpan& s, int64_t done) {
  for (int64_t i = done; i < s.count; ++i) {
    const float* entry =
        s.table.values + stream_index(s.indices, s.first + i, s.bits) * s.vector_len;
    for (int e = 0; e < s.vector_len; ++e) s.out[i * s.vector_len + e] = entry[e];
  }
}

// The 8 indices that start at bit `phase` (0..7) of the 8 bytes at p.
inline void eight_indices(const uint8_t* p, int phase, int bits, uint8_t* out) {
  uint64_t word;
  __builtin_memcpy(&word, p, 8);
  word >>= phase;
  for (int j = 0; j < 8; ++j, word >>= bits)
    out[j] = static_cast<uint8_t>(word & ((1u << bits) - 1));
}

// Eight sets of sums, so that neighbours with the same index do not wait for each other.
inline void segment_sums_any(const SegmentSpan& s) {
  float sums[8][256];
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < s.k; ++i) sums[j][i] = 0.0f;
  const int phase = static_cast<int>(s.first * s.bits & 7);
  int64_t byte = s.first * s.bits >> 3, p = 0;
  for (; p + 8 <= s.count && byte + 8 <= s.bytes; p += 8, byte += s.bits) {
    uint8_t index[8];
    eight_indices(s.indices + byte, phase, s.bits, index);
    for (int j = 0; j < 8; ++j) sums[j][index[j]] += s.value[p + j];
  }
  for (; p < s.count; ++p) sums[p % 8][stream_index(s.indices, s.first + p, s.bits)] += s.value[p];
  for (int i = 0; i < s.k; ++i)
    s.sums[i] += ((sums[0][i] + sums[1][i]) + (sums[2][i] + sums[3][i])) +
                 ((sums[4][i] + sums[5][i]) + (sums[6][i] + sums[7][i]));
}
