// Plain loops that every kernel file includes inside its own anonymous namespace (no include
// guard, no linkage): the ends of spans that whole vectors do not cover.

inline uint32_t index_at(const uint8_t* indices, int64_t i, int bits) {
  const int64_t bit = i * bits;
  const int shift = static_cast<int>(bit & 7);
  uint32_t word = indices[bit >> 3];
  if (shift + bits > 8) word |= static_cast<uint32_t>(indices[(bit >> 3) + 1]) << 8;
  return word >> shift & ((1u << bits) - 1);
}

// Indices [done, count) of the span.
inline void decode_rest(const DecodeSpan& s, int64_t done) {
  for (int64_t i = done; i < s.count; ++i) {
    const float* entry = s.table.values + index_at(s.indices, s.first + i, s.bits) * s.vector_len;
    for (int e = 0; e < s.vector_len; ++e) s.out[i * s.vector_len + e] = entry[e];
  }
}

// Eight sets of sums, so that neighbours with the same index do not wait for each other.
inline void segment_sums_any(const SegmentSpan& s) {
  float sums[8][256];
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < s.k; ++i) sums[j][i] = 0.0f;
  int64_t p = 0;
  for (; p + 8 <= s.count; p += 8)
    for (int j = 0; j < 8; ++j) sums[j][s.index[p + j]] += s.value[p + j];
  for (int j = 0; p < s.count; ++p, ++j) sums[j][s.index[p]] += s.value[p];
  for (int i = 0; i < s.k; ++i)
    s.sums[i] += ((sums[0][i] + sums[1][i]) + (sums[2][i] + sums[3][i])) +
                 ((sums[4][i] + sums[5][i]) + (sums[6][i] + sums[7][i]));
}
