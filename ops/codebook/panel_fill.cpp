#include "ops/codebook/panel_fill.h"

#include <algorithm>

#include "core/error.h"
#include "ops/codebook/byte_panels.h"

namespace tessera {

namespace {

constexpr int64_t kLanes = kGemmLanes;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

}  // namespace

int64_t indices_of(const CodebookView& v) {
  return v.cols / v.vector_len;
}

int64_t vector_stride(const CodebookView& v) {
  return std::max<int64_t>(kLanes, int64_t{1} << v.bits);
}

PackedLayout layout_of(const CodebookView& v) {
  PackedLayout l{};
  l.panels = ceil_div(v.rows, kLanes);
  l.blocks = codebook_blocks(v);
  l.panel_stride = ceil_div(indices_of(v), 8) * kLanes * v.bits;
  if (v.vector_len == 1) {
    l.table_stride = decoder_table_bytes(v);
    l.scales = align64(decoder_bytes(v));
  } else {
    l.table_stride = sizeof(float) * static_cast<size_t>(v.vector_len * vector_stride(v));
    l.scales = align64(l.table_stride * static_cast<size_t>(codebook_groups(v)));
  }
  l.indices = l.scales + sizeof(float) * kLanes * l.panels * l.blocks;
  l.bytes = l.indices + static_cast<size_t>(l.panels * l.panel_stride);
  return l;
}

const PackedKernels& packed_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512)) return tessera_packed_avx512;
#endif
  return tessera_packed_ref;
}

PackedPanels panels_at(const CodebookView& v, const PackedLayout& l, const char* packed,
                       int64_t panel, int64_t block) {
  PackedPanels p{};
  p.panels = reinterpret_cast<const uint8_t*>(packed + l.indices) + panel * l.panel_stride;
  p.panel_stride = l.panel_stride;
  p.table =
      reinterpret_cast<const float*>(packed + l.table_stride * codebook_group(v, panel * kLanes));
  if (v.block)
    p.scale =
        reinterpret_cast<const float*>(packed + l.scales) + (panel * l.blocks + block) * kLanes;
  p.scale_stride = l.blocks * kLanes;
  return p;
}

void fill_packed(const void* context, const GemmPanel& p, void*) {
  const auto& s = *static_cast<const PackedSource*>(context);
  const CodebookView& v = s.view;
  for (int64_t c = 0; c < p.cols; c += kLanes) {
    const int64_t panel = (p.col0 + c) / kLanes;
    auto* const fill =
        v.vector_len > 1 ? s.kernels->vector_fill[v.bits - 1] : s.kernels->fill[v.bits - 1];
    for (int64_t k = 0; k < p.k;) {
      const int64_t block = v.block ? (p.k0 + k) / v.block : 0;
      const int64_t count = v.block ? std::min(p.k - k, (block + 1) * v.block - p.k0 - k) : p.k;
      fill({panels_at(v, s.layout, s.packed, panel, block), p.k0 + k, count,
            p.dst + (s.order ? c / kLanes * p.vs : k * p.ks + c / kLanes * p.vs), p.ks, v.bits,
            s.order ? s.order + k : nullptr, v.vector_len});
      k += count;
    }
  }
}

void fill_bytes(const void* context, const GemmPanel& p, void*) {
  const auto& s = *static_cast<const ByteSource*>(context);
  fill_byte_panels(s.view, s.packed, {p.col0, p.cols, p.k0, p.k, p.dst, p.ks, p.vs, nullptr});
}

void fill_columns(const void* context, const GemmPanel& p, void* scratch) {
  const auto& s = *static_cast<const LogicalSource*>(context);
  auto* rows = static_cast<float*>(scratch);
  s.decode(rows + kRowFloats, [&](const auto& span) {
    for (int64_t c = 0; c < p.cols; c += kLanes) {
      const int64_t count = std::min(kLanes, p.cols - c);
      for (int64_t k = 0; k < p.k; k += kDecodeStep) {
        const int64_t depth = std::min(kDecodeStep, p.k - k);
        for (int64_t r = 0; r < count; ++r)
          span(p.col0 + c + r, p.k0 + k, depth, rows + r * kDecodeStep);
        s.kernels->pack_transpose(
            {rows, kDecodeStep, count, depth, p.dst + k * p.ks + c / kLanes * p.vs, p.ks, p.vs});
      }
    }
  });
}

void fill_rows(const void* context, const GemmPanel& p, void* scratch) {
  const auto& s = *static_cast<const LogicalSource*>(context);
  TESSERA_ASSERT(p.vs == kLanes);
  const int64_t padded = ceil_div(p.cols, kLanes) * kLanes;
  s.decode(scratch, [&](const auto& span) {
    for (int64_t k = 0; k < p.k; ++k) {
      float* dst = p.dst + k * p.ks;
      span(p.k0 + k, p.col0, p.cols, dst);
      std::fill(dst + p.cols, dst + padded, 0.0f);
    }
  });
}

}  // namespace tessera
