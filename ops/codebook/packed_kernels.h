// The packed layout of codebook indices and what its kernels are given: plain structs only.
//
// Rows of W are taken 16 at a time (a panel), and their elements 8 at a time (a step, the last one
// filled with zero bits). A step holds, for each of the 16 rows, its 8 indices as one string of
// 8 * bits bits, least significant first, in 16 * bits bytes: first the lowest 32 bits of every row
// as 16 dwords, then the next 16 bits as 16 words, then the last 8 as 16 bytes, as far as there are
// that many (1 = a byte, 2 = a word, 3 = a word and a byte, ... 6 = a dword and a word). So one
// load or two widen to a register of dwords, one a row, from which a shift an element gives what a
// permute needs.
//
// Where an index stands for d weights of a row it is packed the same way, one an element of
// cols / d, and the table has its entries by weight: [d][16, or 2^bits where that is more].
#pragma once

#include <cstdint>

namespace tessera {

inline constexpr int kPackedMaxBits = 6;
inline constexpr int kPackedMaxVectorBits = 5;  // of entries of several weights
inline constexpr int kPackedMaxRows = 8;        // rows of x a kernel takes
inline constexpr int kPackedMaxVectors = 8;     // panels a kernel takes

// Where a run of panels that share a table starts.
struct PackedPanels {
  const uint8_t* panels;
  int64_t panel_stride;
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

// The same for one row of x, all of its columns and entries of d weights; k counts indices. An
// index looks up the product of its entry with its part of x, of which there are few.
struct PackedVectorTile {
  PackedPanels w;
  int64_t k;
  const float* x;
  float* y;
  int32_t bits, d, vectors, tail;
};

// dst[order[i] * ks + lane] = scale * W[lane, k0 + i] for i < k, of one panel; k0 is a multiple of
// 8. Without an order i itself. A vector_fill decodes entries of d weights, from any k0 on.
struct PackedFill {
  PackedPanels w;
  int64_t k0, k;
  float* dst;
  int64_t ks;
  int32_t bits;
  const int32_t* order;
  int32_t d;
};

struct PackedKernels {
  const char* name;
  // tile[bits - 1][rows - 1][log2(vectors)]; null where it would not fit the registers.
  void (*tile[kPackedMaxBits][kPackedMaxRows][4])(const PackedTile&);
  void (*fill[kPackedMaxBits])(const PackedFill&);
  void (*vector_fill[kPackedMaxVectorBits])(const PackedFill&);
  void (*vector_tile[kPackedMaxVectorBits][4])(const PackedVectorTile&);  // by log2(vectors)
};

extern "C" const PackedKernels tessera_packed_ref;
#if defined(__x86_64__)
extern "C" const PackedKernels tessera_packed_avx512;
#endif

}  // namespace tessera
