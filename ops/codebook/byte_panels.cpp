#include "ops/codebook/byte_panels.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/byte_kernels.h"
#include "ops/codebook/decode.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = 16, kStep = 4;
constexpr std::int64_t kSmallTables = 64 << 10;  // that may outweigh the indices
constexpr std::int64_t kLeastBits = 6;           // fewer would take up more as bytes

// Where things are: tables of groups, scales of panels, indices.
struct Layout {
  std::int64_t panels, blocks, stride, table_bytes, panel_bytes, scales, indices, bytes;
};
Layout layout_of(const CodebookView& v) {
  Layout l{};
  l.panels = (v.rows + kLanes - 1) / kLanes;
  l.blocks = codebook_blocks(v);
  l.stride = std::max<std::int64_t>(64, std::int64_t{1} << v.bits);
  l.table_bytes = 4 * v.vector_len * l.stride;
  l.panel_bytes = (v.cols / v.vector_len + kStep - 1) / kStep * kStep * kLanes;
  l.scales = l.table_bytes * codebook_groups(v);
  l.indices = l.scales + 4 * kLanes * l.panels * l.blocks;
  l.bytes = l.indices + l.panels * l.panel_bytes;
  return l;
}

}  // namespace

bool byte_panels_fit(const CodebookView& v, CpuFeatures features) {
  if (!features.includes(kAvx2 | kAvx512 | kVbmi)) return false;
  if (v.bits < kLeastBits || v.group_rows % kLanes != 0) return false;
  const Layout l = layout_of(v);
  return l.scales <= std::max(l.bytes / 2, kSmallTables);
}

std::size_t byte_panels_bytes(const CodebookView& v) {
  return static_cast<std::size_t>(layout_of(v).bytes);
}

void pack_byte_panels(const CodebookView& v, void* packed) {
  const Layout l = layout_of(v);
  auto* base = static_cast<std::uint8_t*>(packed);
  std::memset(base, 0, static_cast<std::size_t>(l.bytes));
  const std::int64_t used = std::int64_t{v.k} * v.vector_len;
  std::vector<float> entries(static_cast<std::size_t>(used));
  for (std::int64_t g = 0; g < codebook_groups(v); ++g) {
    convert_entries(v.entries, v.entry_dtype, g * used, used, entries.data());
    for (std::int64_t i = 0; i < used; ++i) {
      std::uint8_t bytes[4];
      std::memcpy(bytes, &entries[static_cast<std::size_t>(i)], 4);
      for (std::int64_t b = 0; b < 4; ++b) {
        base[g * l.table_bytes + (i % v.vector_len * 4 + b) * l.stride + i / v.vector_len] =
            bytes[b];
      }
    }
  }
  auto* scales = reinterpret_cast<float*>(base + l.scales);
  const std::int64_t columns = v.cols / v.vector_len;
  parallel_for(
      l.panels, 1 + 16384 / std::max<std::int64_t>(columns, 1),
      [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::uint8_t> index(static_cast<std::size_t>(columns));
        for (std::int64_t row = begin * kLanes; row < std::min(end * kLanes, v.rows); ++row) {
          const std::int64_t panel = row / kLanes, lane = row % kLanes;
          for (std::int64_t b = 0; b < l.blocks; ++b)
            scales[(panel * l.blocks + b) * kLanes + lane] = v.scale[row * l.blocks + b];
          unpack_indices(v.indices, row * columns, columns, v.bits, index.data());
          std::uint8_t* to = base + l.indices + panel * l.panel_bytes + lane / 4 * 16 + lane % 4;
          for (std::int64_t i = 0; i < columns; ++i)
            to[i / kStep * kStep * kLanes + i % kStep * 4] = index[static_cast<std::size_t>(i)];
        }
      });
}

void fill_byte_panels([[maybe_unused]] const CodebookView& v, [[maybe_unused]] const void* packed,
                      [[maybe_unused]] const BytePanelsFill& f) {
#if defined(__x86_64__)
  const Layout l = layout_of(v);
  const auto* base = static_cast<const std::uint8_t*>(packed);
  const auto* scales = reinterpret_cast<const float*>(base + l.scales);
  for (std::int64_t r = 0; r < f.rows; r += kLanes) {
    const std::int64_t panel = (f.row0 + r) / kLanes;
    const std::uint8_t* table = base + codebook_group(v, panel * kLanes) * l.table_bytes;
    for (std::int64_t k = 0; k < f.k;) {
      const std::int64_t block = v.block ? (f.k0 + k) / v.block : 0;
      const std::int64_t count =
          v.block ? std::min(f.k - k, (block + 1) * v.block - f.k0 - k) : f.k;
      tessera_byte_fill_avx512vbmi(
          {base + l.indices + panel * l.panel_bytes, table,
           v.block ? scales + (panel * l.blocks + block) * kLanes : nullptr, f.k0 + k, count,
           f.dst + r / kLanes * f.vs + (f.order ? 0 : k * f.ks), f.ks,
           f.order ? f.order + k : nullptr, v.bits, v.vector_len});
      k += count;
    }
  }
#else
  TESSERA_ASSERT(false);
#endif
}

bool byte_panels_multiply(const CodebookView& v) {
  return v.vector_len == 1 && (v.block % kStep == 0 || v.block >= v.cols);
}

void multiply_byte_panel([[maybe_unused]] const CodebookView& v,
                         [[maybe_unused]] const void* packed,
                         [[maybe_unused]] const BytePanelsProduct& p) {
#if defined(__x86_64__)
  static_assert(kByteTileRows == kByteRows);
  const Layout l = layout_of(v);
  const auto* base = static_cast<const std::uint8_t*>(packed);
  const std::int64_t row0 = p.panel * kLanes;
  const std::int64_t block = std::max<std::int64_t>(v.block ? v.block : v.cols, 1);
  const std::uint8_t* table = base + codebook_group(v, row0) * l.table_bytes;
  const auto* scales =
      reinterpret_cast<const float*>(base + l.scales) + p.panel * l.blocks * kLanes;
  for (std::int64_t k = 0; k == 0 || k < v.cols; k += block) {
    tessera_byte_tile_avx512vbmi(
        {base + l.indices + p.panel * l.panel_bytes + k * kLanes, table,
         v.block ? scales + k / block * kLanes : nullptr, std::min(block, v.cols - k), p.x + k,
         p.x_rs, p.y, p.ldy, v.bits, p.rows,
         static_cast<std::int32_t>(std::min(kLanes, v.rows - row0)), k > 0});
  }
#else
  TESSERA_ASSERT(false);
#endif
}

}  // namespace tessera
