// How panels of a codebook weight, sixteen rows wide, are filled for products: the callbacks of
// GEMM and what they read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/packed_kernels.h"
#include "ops/matmul/gemm.h"

namespace tessera {

// Elements of a row decoded before they are transposed into a panel: 16 rows of them are 16 KB.
inline constexpr int64_t kDecodeStep = 256;
inline constexpr int64_t kRowFloats = kGemmLanes * kDecodeStep;
// Bytes of tables that are filled before a product; those of more groups are filled one at a time.
inline constexpr size_t kMostTables = 16 << 20;
inline bool fills_all_tables(const CodebookView& view) {
  return decoder_bytes(view) <= kMostTables;
}

int64_t indices_of(const CodebookView& view);  // of a row
// Floats between the weights of an entry in the table of a vector kernel.
int64_t vector_stride(const CodebookView& view);
PackedLayout layout_of(const CodebookView& view);
const PackedKernels& packed_kernels(CpuFeatures features);
PackedPanels panels_at(const CodebookView& view, const PackedLayout& layout, const char* packed,
                       int64_t panel, int64_t block);

// Panels from the packed form: already transposed, decoded straight into place.
struct PackedSource {
  CodebookView view;
  PackedLayout layout;
  const PackedKernels* kernels;
  const char* packed;
  const int32_t* order = nullptr;  // of the elements of a panel; null: as they come
};
void fill_packed(const void* source, const GemmPanel& panel, void* scratch);

// Panels from indices of a byte each.
struct ByteSource {
  CodebookView view;
  const void* packed;
};
void fill_bytes(const void* source, const GemmPanel& panel, void* scratch);

// Panels from the logical order.
struct LogicalSource {
  CodebookView view;
  CpuFeatures features;
  const CodebookDecoder* decoder;  // with all tables; null: one at a time
  const GemmKernels* kernels;

  // Calls fn(span), span(row, col0, cols, out) decoding; `scratch` is room for a table.
  template <class Fn>
  void decode(void* scratch, Fn&& fn) const {
    if (decoder != nullptr) {
      fn([this](int64_t row, int64_t col0, int64_t cols, float* out) {
        decode_span(*decoder, row, col0, cols, out);
      });
    } else {
      GroupDecoder one(view, features, scratch);
      fn([&one](int64_t row, int64_t col0, int64_t cols, float* out) {
        one.span(row, col0, cols, out);
      });
    }
  }
};
// W's rows are the columns of B and are transposed; scratch: kRowFloats and room for a table.
void fill_columns(const void* source, const GemmPanel& panel, void* scratch);
// W's rows are the rows of B.
void fill_rows(const void* source, const GemmPanel& panel, void* scratch);

}  // namespace tessera
