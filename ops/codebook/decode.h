// Codebook-encoded matrices in logical order: index packing, decoding to f32, and the sums their
// gradients need. Nothing here allocates.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/codebook/decode_kernels.h"
#include "ops/codebook/view.h"

namespace tessera {

inline constexpr int kMaxVectorLen = 16;

// Writes `count` indices (one byte each, below 2^bits) as a bit string, least significant bit
// first; out has (count * bits + 7) / 8 bytes, unused high bits of the last one are 0.
void pack_indices(const uint8_t* indices, int64_t count, int bits, uint8_t* out);

// Reads `count` indices from number `first` of such a string.
void unpack_indices(const uint8_t* packed, int64_t first, int64_t count, int bits, uint8_t* out);

// Converts n entries to f32 (bf16 by appending zero bits, s8 as integers).
void convert_entries(const void* entries, EntryDtype dtype, int64_t first, int64_t n, float* out);

// The best decoding kernels that `features` allows.
const DecodeKernels& decode_kernels(CpuFeatures features);

// A view with its entries laid out for the kernels; decodes any part of the matrix.
struct CodebookDecoder {
  CodebookView view;
  const DecodeKernels* kernels;
  const char* tables;
  size_t table_stride, planes_offset;
};

// Bytes of the tables of one group, and of all groups.
size_t decoder_table_bytes(const CodebookView& view);
size_t decoder_bytes(const CodebookView& view);

// The most that decoder_table_bytes can be: for tables on the stack.
inline constexpr size_t kMaxDecoderTable = sizeof(float) * 256 * kMaxVectorLen + 4 * 256;

// Prepares the tables of all groups in `memory` (decoder_bytes(view), 64-byte aligned), which the
// decoder keeps using, as it does the view's pointers.
CodebookDecoder make_decoder(const CodebookView& view, CpuFeatures features, void* memory);

// out[j] = W[row][col0 + j] for j < cols, scaled unless `scaled` is false.
void decode_span(const CodebookDecoder& decoder, int64_t row, int64_t col0, int64_t cols,
                 float* out, bool scaled = true);

// Decodes with the table of one group at a time, filled when a row of another group comes: where
// all tables together would be large, and for rows in order.
class GroupDecoder {
 public:
  // `table` has decoder_table_bytes(view) bytes, 64-byte aligned.
  GroupDecoder(const CodebookView& view, CpuFeatures features, void* table);
  void span(int64_t row, int64_t col0, int64_t cols, float* out, bool scaled = true);
  // Whole rows [row0, row1), one after the other: short ones cost no more than long ones.
  void rows(int64_t row0, int64_t row1, float* out);

 private:
  void use_group(int64_t row);

  CodebookDecoder decoder_;
  void* table_;
  int64_t group_ = -1;
};

// out[(r - row0) * ld + c] = W[r][c] for rows [row0, row1). entry * scale, rounded once: every
// kernel gives the same bits. Parallel over rows.
void decode_rows(const CodebookView& view, int64_t row0, int64_t row1, float* out, int64_t ld,
                 CpuFeatures features);

// Scratch of codebook_gradient.
size_t codebook_gradient_scratch(const CodebookView& view);

// Gradients of a codebook from d_w[rows, cols] (row stride ld), the gradient of the decoded matrix:
//   d_entries[g][i][e] += sum of d_w * scale over the elements that entry element stands for
//                         (skipped when d_entries is null; then scale is not read),
//   d_scale[r][b]      += sum of d_w * entry over the block (skipped when d_scale is null).
// f32 accumulators over fixed chunks: the bits do not depend on the thread count.
void codebook_gradient(const CodebookView& view, const float* d_w, int64_t ld, float* d_entries,
                       float* d_scale, CpuFeatures features, void* scratch);

}  // namespace tessera
