// Codebook indices as a byte each, in panels of sixteen rows (byte_kernels.h): the form in which
// indices of 7 and 8 bits, and of entries of several weights, are decoded at the speed of few bits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cpu.h"
#include "ops/codebook/view.h"

namespace tessera {

// Whether this machine decodes the form, and its tables do not outweigh the indices.
bool byte_panels_fit(const CodebookView& view, CpuFeatures features);
std::size_t byte_panels_bytes(const CodebookView& view);
void pack_byte_panels(const CodebookView& view, void* packed);

// dst[order[i] * ks + r / 16 * vs + r % 16] = W[row0 + r, k0 + i] for r < rows, i < k, of whole
// panels; without an order i itself.
struct BytePanelsFill {
  std::int64_t row0, rows, k0, k;
  float* dst;
  std::int64_t ks, vs;
  const std::int32_t* order;
};
void fill_byte_panels(const CodebookView& view, const void* packed, const BytePanelsFill& fill);

// Whether panels can be multiplied in registers: an entry is one weight, and scale blocks are a
// multiple of 4 columns.
bool byte_panels_multiply(const CodebookView& view);
inline constexpr std::int64_t kByteTileRows = 8;  // of x, that one decoding serves
// y[m, lane] = sum over all columns of x[m, k] * W[16 * panel + lane, k] for m < rows, at most
// kByteTileRows; rows beyond the last of W are not written.
struct BytePanelsProduct {
  std::int64_t panel;
  const float* x;
  std::int64_t x_rs;
  int rows;
  float* y;
  std::int64_t ldy;
};
void multiply_byte_panel(const CodebookView& view, const void* packed, const BytePanelsProduct& p);

}  // namespace tessera
