// A byte plane of a table of 64, 128 or 256 entries, looked up by 64 indices: included by the files
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
