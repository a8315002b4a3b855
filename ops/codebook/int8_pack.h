// Codebook weights arranged for integer products (int8_kernels.h): rounded entries, the sums and
// scales of rows, and indices in planes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/codebook/int8_kernels.h"
#include "ops/codebook/view.h"

namespace tessera {

inline constexpr int64_t kInt8PanelRows = 16;

// The entries of a group as integers times a scale. Entries that are signed bytes stay as they are;
// others get the scale largest / t, t in [64, 127], that rounds them best.
struct Int8Entries {
  std::vector<int8_t> values;
  float scale = 0;
};
Int8Entries round_entries(const CodebookView& view, int64_t group);

// Whether the encoding has an integer form: entries of one weight, scale blocks of whole steps (32
// columns), at most 65536 columns a block, row groups of whole panels (16 rows) below 7 bits. The
// reason gets a word group where not.
bool int8_fits(const CodebookView& view, const char** reason = nullptr);

// Where things are: tables of 64 bytes a group, sums and scales of panels and blocks, steps.
struct Int8Layout {
  int form;
  int64_t panels, steps, blocks, block_steps, panel_stride;
  int64_t meta_at, steps_at, bytes;
};
Int8Layout layout_of_int8(const CodebookView& view);

// Writes the form (64-byte aligned), layout.bytes of it.
void pack_int8(const CodebookView& view, void* packed);

// The same of columns in another order: order[k] is the column of `view` that comes k-th, or -1
// where the row of x holds its zero point, so that no weight matters. Scale blocks are whole rows.
// The form is that of arranged(view, order.size()).
CodebookView arranged(const CodebookView& view, int64_t cols);
void pack_int8(const CodebookView& view, std::span<const int32_t> order, void* packed);

constexpr int form_of(int bits) {
  return bits >= 7 ? 8 : bits;
}
constexpr int form_index(int form) {
  return form == 8 ? 6 : form - 1;
}

}  // namespace tessera
