// The packed form of codebook weights for integer products and what its kernels are given: plain
// structs only.
//
// Rows of W are taken 16 at a time (a panel) and columns 32 at a time (a step, the last one filled
// with index 0). Four successive columns of the 16 rows are a quad: 64 indices, row by row. A step
// has eight quads; its indices are kept in planes of 4, 2 and 1 bits, as many as there are bits:
//   4 bits: 4 vectors of 64 bytes, vector i with quad 2i in the low and 2i + 1 in the high nibbles
//   2 bits: 2 vectors, quads 4i to 4i + 3 at bits 0, 2, 4 and 6
//   1 bit:  1 vector, quad j at bit j
// the lowest bits of an index in the widest plane. With form 8 a byte is the entry itself, rounded;
// 7 and 8 bits are kept so, which takes no more than their indices would, and so are tiles that
// were decoded for larger batches.
#pragma once

#include <cstdint>

namespace tessera {

inline constexpr int kInt8MaxRows = 12;  // rows of x a kernel takes
inline constexpr int kInt8Step = 32;     // columns
inline constexpr int kInt8Forms[] = {1, 2, 3, 4, 5, 6, 8};
inline constexpr int kInt8MetaBytes = 128;  // 16 sums, then 16 scales

// Where a run of panels that share a table starts.
struct Int8Panels {
  const uint8_t* panels;
  int64_t panel_stride;
  const int8_t* table;  // 64 entries, repeated up to there; not for form 8
  // For block b of panel v at meta + v * meta_stride + b * kInt8MetaBytes: the sums of the entries
  // of 16 rows, int32, and what the integers of these rows are to be multiplied with, f32.
  const char* meta;
  int64_t meta_stride;
};

// For m < rows: y[m, 16 v + lane] = sum over blocks of
//   (x_scale[m] * scale[lane]) * (sum of x[m, k] * W[lane of panel v, k] - x_zero[m] * sums[lane])
// the second factor an integer, exactly; blocks are added in order by fused multiply-add. x has as
// many rows as the kernel, and columns up to a multiple of 32. The last panel has `tail` rows.
struct Int8Tile {
  Int8Panels w;
  int64_t steps, block_steps;  // all, and those that share scales
  const uint8_t* x;
  int64_t x_rs;
  const float* x_scale;
  const int32_t* x_zero;
  float* y;
  int64_t ldy;
  int32_t form, rows, vectors, tail;
  const uint8_t* tables = nullptr;  // of a sums_tile, with the sum of the row's bytes
  int32_t x_total = 0;
};

// All partial sums of four bytes of a row of x, for one-bit indices: 256 bytes a step. Columns
// 16 h + b + {0, 4, 8, 12} of a step, h < 2, b < 4, have 16 sums, by the subset: their low bytes at
// 128 h + 16 b, their high ones 64 further on.
struct Int8Subsets {
  const uint8_t* x;
  int64_t steps;
  uint8_t* tables;
  int32_t* total;  // of all bytes of the row
};

// Entries of `steps` steps of a panel, as form 8: 512 bytes a step.
struct Int8Expand {
  const uint8_t* panel;
  const int8_t* table;
  int64_t steps;
  int8_t* dst;
  int32_t form;
};

// q[k] = x[k] / scale + zero, rounded to nearest even, in [0, 255]; zeros up to a multiple of 32.
// scale = (max - min) / 255 of the elements and 0, and zero = -min / scale, rounded. NaN or
// infinities make scale NaN, a range below kInt8LeastRange 0, and q and zero 0.
struct Int8Quantize {
  const float* x;
  int64_t k;
  uint8_t* q;
  float* scale;
  int32_t* zero;
};
inline constexpr float kInt8LeastRange = 0x1p-110f;

// A kernel by its form, and by rows of x: 1, 2, 3, 4, 6, 8, 12.
inline constexpr int kInt8FormCount = 7, kInt8RowCounts = 7;
inline constexpr int kInt8Rows[kInt8RowCounts] = {1, 2, 3, 4, 6, 8, 12};
struct Int8Kernels {
  const char* name;
  int vectors[kInt8RowCounts];  // panels that the wider of two kernels takes
  // [form][rows][0]: one panel, [1]: several. None with 12 rows but form 8.
  void (*tile[kInt8FormCount][kInt8RowCounts][2])(const Int8Tile&);
  void (*expand[kInt8FormCount - 1])(const Int8Expand&);
  void (*quantize)(const Int8Quantize&);
  // Form 1, one row and one block: four indices at a time look up what they add. May be null.
  void (*subsets)(const Int8Subsets&);
  void (*sums_tile[2])(const Int8Tile&);
};

extern "C" const Int8Kernels tessera_int8_ref;
#if defined(__x86_64__)
extern "C" const Int8Kernels tessera_int8_avx2, tessera_int8_avxvnni, tessera_int8_avx512vnni,
    tessera_int8_avx512vnnivbmi;
#endif

}  // namespace tessera
