// Byte planes of a table of 64, 128 or 256 entries, looked up by 64 indices: included by the files
// with VBMI inside their own anonymous namespaces (no include guard, no linkage).

template <int kRegisters>
inline __m512i look_up(const __m512i* plane, __m512i index) {
  if constexpr (kRegisters == 1) {
    return _mm512_permutexvar_epi8(index, plane[0]);
  } else if constexpr (kRegisters == 2) {
    return _mm512_permutex2var_epi8(plane[0], index, plane[1]);
  } else {
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index),
                                  _mm512_permutex2var_epi8(plane[0], index, plane[1]),
                                  _mm512_permutex2var_epi8(plane[2], index, plane[3]));
  }
}

// The four planes of a table of floats, one behind the other.
template <int kRegisters>
inline void load_planes(const uint8_t* table, __m512i (&plane)[4][kRegisters]) {
#pragma GCC unroll 4
  for (int b = 0; b < 4; ++b)
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i)
      plane[b][i] = _mm512_loadu_si512(table + 64 * (b * kRegisters + i));
}

// The floats of 64 indices: that at byte 16 l + 4 j + e in lane 4 l + e of out[j], since bytes are
// interleaved within 128 bits.
template <int kRegisters>
inline void look_up_floats(const __m512i (&plane)[4][kRegisters], __m512i index,
                           __m512i (&out)[4]) {
  const __m512i b0 = look_up<kRegisters>(plane[0], index);
  const __m512i b1 = look_up<kRegisters>(plane[1], index);
  const __m512i b2 = look_up<kRegisters>(plane[2], index);
  const __m512i b3 = look_up<kRegisters>(plane[3], index);
  const __m512i low0 = _mm512_unpacklo_epi8(b0, b1), low1 = _mm512_unpackhi_epi8(b0, b1);
  const __m512i high0 = _mm512_unpacklo_epi8(b2, b3), high1 = _mm512_unpackhi_epi8(b2, b3);
  out[0] = _mm512_unpacklo_epi16(low0, high0);
  out[1] = _mm512_unpackhi_epi16(low0, high0);
  out[2] = _mm512_unpacklo_epi16(low1, high1);
  out[3] = _mm512_unpackhi_epi16(low1, high1);
}
