#include "ops/codebook/int8_pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/decode.h"

namespace tessera {
namespace {

constexpr int64_t kMostColumns = 65536;  // of a block: 255 * 128 * 65536 < 2^31
constexpr int kLeastLevels = 64, kMostLevels = 127;
constexpr int kSearchedEntries = 16;  // more are dense enough for any scale

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

double rounding_error(const std::vector<float>& entries, double scale) {
  double error = 0;
  for (const float e : entries) {
    const double off = e - scale * std::nearbyint(e / scale);
    error += off * off;
  }
  return error;
}

// The byte and bit in a step where a plane keeps an index's bits.
struct Place {
  int64_t byte;
  int shift;
};
Place place(int size, int64_t lane, int64_t column) {
  const int64_t quad = column / 4, each = 8 / size;
  return {64 * (quad / each) + lane * 4 + column % 4, static_cast<int>(quad % each * size)};
}

void write_indices(const uint8_t* index, int64_t count, int form, int64_t lane, uint8_t* steps) {
  for (int64_t c = 0; c < count; ++c) {
    uint8_t* step = steps + c / kInt8Step * 64 * form;
    int bits = index[c];
    for (int size = 4; size; size /= 2) {
      if (!(form & size)) continue;
      const Place at = place(size, lane, c % kInt8Step);
      step[at.byte] |= static_cast<uint8_t>((bits & ((1 << size) - 1)) << at.shift);
      bits >>= size;
      step += 64 * size;
    }
  }
}

void write_entries(const uint8_t* index, const std::vector<int8_t>& values, int64_t count,
                   int64_t lane, uint8_t* steps) {
  for (int64_t c = 0; c < count; ++c)
    steps[c / 4 * 64 + lane * 4 + c % 4] = static_cast<uint8_t>(values[index[c]]);
}

// `stored` in the columns of v, which are those of `order`, if there is one.
void pack(const CodebookView& stored, const CodebookView& v, std::span<const int32_t> order,
          void* packed) {
  TESSERA_ASSERT(int8_fits(v));
  const Int8Layout l = layout_of_int8(v);
  auto* base = static_cast<uint8_t*>(packed);
  std::memset(base, 0, static_cast<size_t>(l.bytes));
  std::vector<Int8Entries> groups;
  for (int64_t g = 0; g < codebook_groups(v); ++g) {
    groups.push_back(round_entries(v, g));
    const auto& values = groups.back().values;
    const int64_t repeat = int64_t{1} << std::min(v.bits, 6);
    for (int64_t i = 0; i < 64 && l.form != 8; ++i)
      if (i % repeat < v.k)
        base[64 * g + i] = static_cast<uint8_t>(values[static_cast<size_t>(i % repeat)]);
  }
  const int64_t columns = l.block_steps * kInt8Step;
  parallel_for(l.panels, 1 + 4096 / std::max<int64_t>(v.cols, 1), [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> from(static_cast<size_t>(stored.cols)), arranged(order.size());
    for (int64_t row = begin * kInt8PanelRows; row < std::min(end * kInt8PanelRows, v.rows);
         ++row) {
      const int64_t panel = row / kInt8PanelRows, lane = row % kInt8PanelRows;
      const Int8Entries& entries = groups[static_cast<size_t>(codebook_group(v, row))];
      unpack_indices(v.indices, row * stored.cols, stored.cols, v.bits, from.data());
      for (size_t k = 0; k < order.size(); ++k)
        arranged[k] = order[k] < 0 ? uint8_t{0} : from[static_cast<size_t>(order[k])];
      const std::vector<uint8_t>& index = order.empty() ? from : arranged;
      for (int64_t b = 0; b < l.blocks; ++b) {
        int32_t sum = 0;
        for (int64_t c = b * columns; c < std::min(v.cols, (b + 1) * columns); ++c)
          sum += entries.values[index[static_cast<size_t>(c)]];
        const float scale =
            codebook_blocks(v) > 0 ? entries.scale * v.scale[row * l.blocks + b] : entries.scale;
        uint8_t* meta = base + l.meta_at + (panel * l.blocks + b) * kInt8MetaBytes;
        std::memcpy(meta + 4 * lane, &sum, 4);
        std::memcpy(meta + 64 + 4 * lane, &scale, 4);
      }
      uint8_t* steps = base + l.steps_at + panel * l.panel_stride;
      if (l.form == 8)
        write_entries(index.data(), entries.values, v.cols, lane, steps);
      else
        write_indices(index.data(), v.cols, l.form, lane, steps);
    }
  });
}

}  // namespace

Int8Entries round_entries(const CodebookView& v, int64_t group) {
  std::vector<float> entries(static_cast<size_t>(v.k));
  convert_entries(v.entries, v.entry_dtype, group * v.k, v.k, entries.data());
  Int8Entries out;
  float largest = 0;
  for (const float e : entries) {
    if (!std::isfinite(e)) {  // is seen in every sum, as it would be in floats
      out.scale = std::numeric_limits<float>::quiet_NaN();
      out.values.assign(entries.size(), 0);
      return out;
    }
    largest = std::max(largest, std::abs(e));
  }
  if (v.entry_dtype == EntryDtype::kS8) {
    out.scale = 1;
  } else if (largest > 0) {
    double scale = largest / double{kMostLevels};
    double best = v.k <= kSearchedEntries ? rounding_error(entries, scale) : 0;
    for (int t = kMostLevels - 1; t >= kLeastLevels && best > 0; --t) {
      const double tried = largest / static_cast<double>(t), error = rounding_error(entries, tried);
      if (error < best) {
        best = error;
        scale = tried;
      }
    }
    out.scale = static_cast<float>(scale);
  }
  for (const float e : entries) {
    const double level = out.scale > 0 ? std::nearbyint(e / static_cast<double>(out.scale)) : 0;
    out.values.push_back(static_cast<int8_t>(std::clamp(level, -128.0, 127.0)));
  }
  return out;
}

bool int8_fits(const CodebookView& v, const char** reason) {
  const char* why = nullptr;
  const int64_t block = v.block ? std::min(v.block, v.cols) : v.cols;
  if (v.vector_len != 1)
    why = "entries of several weights";
  else if (block > kMostColumns)
    why = "more columns than 32-bit sums hold";
  else if (block % kInt8Step && block < v.cols)
    why = "scale blocks are no multiple of 32";
  else if (form_of(v.bits) != 8 && v.group_rows % kInt8PanelRows)
    why = "row groups are no multiple of 16";
  if (reason) *reason = why ? why : "";
  return !why;
}

Int8Layout layout_of_int8(const CodebookView& v) {
  Int8Layout l{};
  l.form = form_of(v.bits);
  l.panels = ceil_div(v.rows, kInt8PanelRows);
  l.steps = ceil_div(v.cols, kInt8Step);
  l.blocks = std::max<int64_t>(1, codebook_blocks(v));
  l.block_steps = std::max<int64_t>(1, l.blocks > 1 ? v.block / kInt8Step : l.steps);
  l.panel_stride = l.steps * 64 * l.form;
  l.meta_at = l.form == 8 ? 0 : 64 * codebook_groups(v);
  l.steps_at = l.meta_at + l.panels * l.blocks * kInt8MetaBytes;
  l.bytes = l.steps_at + l.panels * l.panel_stride;
  return l;
}

CodebookView arranged(const CodebookView& view, int64_t cols) {
  CodebookView out = view;
  out.cols = cols;
  if (view.block) out.block = std::max<int64_t>(cols, 1);
  return out;
}

void pack_int8(const CodebookView& v, void* packed) {
  pack(v, v, {}, packed);
}

void pack_int8(const CodebookView& v, std::span<const int32_t> order, void* packed) {
  TESSERA_ASSERT(!v.block || v.block >= v.cols);
  pack(v, arranged(v, static_cast<int64_t>(order.size())), order, packed);
}

}  // namespace tessera
