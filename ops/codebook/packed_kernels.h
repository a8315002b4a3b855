// The packed layout of codebook indices and what its kernels are given: plain structs only.
//
// Rows of W are taken 16 at a time (a panel); lane n of every vector belongs to row n of the
// panel. The bits of an index are split over planes of width 4, 2 and 1 (3 = 2 + 1, 5 = 4 + 1,
// 6 = 4 + 2; higher bits of the index in narrower planes). A plane of width w is a sequence of
// vectors of 16 dwords; dword j of a lane holds the bits of elements [j * 32 / w, (j + 1) * 32 / w)
// of its row, first element lowest. So one load and a shift an element give the indices of 16 rows,
// ready for a permute.
#pragma once

#include <cstdint>

namespace tessera {

inline constexpr int kPackedMaxBits = 6;
inline constexpr int kPackedMaxRows = 8;     // rows of x a kernel takes
inline constexpr int kPackedMaxVectors = 8;  // panels a kernel takes

// Where a run of panels that share a table starts; plane offsets in the order 4, 2, 1.
struct PackedPanels {
  const uint8_t* panels;
  int64_t panel_stride;
  int64_t plane_offset[3];
  const float* table;  // at least 16 floats, repeated up to there
  const float* scale;  // 16 floats for panel v at scale + v * scale_stride, or null
  int64_t scale_stride;
};

// y[m, 16 v + lane] (+)= scale * sum of x[m, k] * W[lane of panel v, k] over k in [k0, k0 + k);
// k0 is a multiple of 8. x points at column k0. The last panel has `tail` rows (1..16).
struct PackedTile {
  PackedPanels w;
  int64_t k0, k;
  const float* x;
  int64_t x_rs;
  float* y;
  int64_t ldy;
  int32_t bits, rows, vectors, tail, accumulate;
};

// dst[i * ks + lane] = scale * W[lane, k0 + i] for i < k, of one panel; k0 is a multiple of 8.
struct PackedFill {
  PackedPanels w;
  int64_t k0, k;
  float* dst;
  int64_t ks;
  int32_t bits;
};

struct PackedKernels {
  const char* name;
  // tile[bits - 1][rows - 1][log2(vectors)]; null where it would not fit the registers.
  void (*tile[kPackedMaxBits][kPackedMaxRows][4])(const PackedTile&);
  void (*fill[kPackedMaxBits])(const PackedFill&);
};

extern "C" const PackedKernels tessera_packed_ref;
#if defined(__x86_64__)
extern "C" const PackedKernels tessera_packed_avx512;
#endif

}  // namespace tessera
