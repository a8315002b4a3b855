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

}  // namespace tessera
