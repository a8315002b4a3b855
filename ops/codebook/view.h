// A codebook-encoded matrix in its logical order, as plain pointers and sizes.
#pragma once

#include <cstdint>

namespace tessera {

enum class EntryDtype : uint8_t { kF32, kBf16, kS8 };

// W[rows, cols], W[r][c] = entry(r, c) * scale(r, c). Index i covers the vector_len consecutive
// elements starting at element i * vector_len of the matrix in row-major order and sits at bits
// [i * bits, (i + 1) * bits) of `indices`, least significant bit first, without row padding.
struct CodebookView {
  const uint8_t* indices = nullptr;
  const void* entries = nullptr;  // [groups][k][vector_len] of entry_dtype
  const float* scale = nullptr;   // [rows][ceil(cols / block)]; unused when block is 0
  int bits = 0;                   // 1..8
  EntryDtype entry_dtype = EntryDtype::kF32;
  int k = 0;           // entries per group, at most 2^bits; every index is below k
  int vector_len = 1;  // divides cols
  int64_t rows = 0, cols = 0;
  int64_t group_rows = 0;  // rows that share entries; 0: all
  int64_t block = 0;       // elements of a row that share a scale; 0: no scale
};

constexpr int64_t codebook_groups(const CodebookView& v) {
  return v.group_rows ? (v.rows + v.group_rows - 1) / v.group_rows : 1;
}
constexpr int64_t codebook_group(const CodebookView& v, int64_t row) {
  return v.group_rows ? row / v.group_rows : 0;
}
// Scales of one row.
constexpr int64_t codebook_blocks(const CodebookView& v) {
  return v.block ? (v.cols + v.block - 1) / v.block : 0;
}
constexpr int64_t codebook_indices(const CodebookView& v) {
  return v.rows * v.cols / v.vector_len;
}
constexpr int64_t codebook_index_bytes(const CodebookView& v) {
  return (codebook_indices(v) * v.bits + 7) / 8;
}

}  // namespace tessera
