#include "ops/codebook/weight_panels.h"

#include <algorithm>
#include <cstring>

#include "ops/codebook/byte_panels.h"
#include "ops/codebook/panel_fill.h"

namespace tessera {

namespace {

constexpr int64_t kLanes = kGemmLanes;

constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

}  // namespace

WeightPanels::WeightPanels(const CodebookView& view, bool fixed, CpuFeatures features)
    : view_(view), form_(Form::planes), features_(features) {
  if (!fixed) return;
  if (packable(view)) {
    form_ = Form::panels;
  } else if (byte_panels_fit(view, features)) {
    form_ = Form::bytes;
  }
}
WeightPanels::WeightPanels(int64_t rows, int64_t cols, CpuFeatures features)
    : form_(Form::floats), features_(features) {
  view_.rows = rows;
  view_.cols = cols;
}

std::string_view WeightPanels::layout() const {
  return form_ == Form::bytes ? "cbbytes" : form_ == Form::floats ? "panels_t" : "cbpanel";
}
std::size_t WeightPanels::packed_bytes() const {
  switch (form_) {
    case Form::bytes:
      return byte_panels_bytes(view_);
    case Form::floats:
      return panel_bytes(view_.rows, view_.cols);
    default:
      return tessera::packed_bytes(view_);
  }
}
void WeightPanels::pack(const CodebookView& planes, const float* matrix, void* packed) const {
  switch (form_) {
    case Form::bytes:
      return pack_byte_panels(planes, packed);
    case Form::floats:
      return pack_panels(features_, GemmB::kColumns, view_.rows, view_.cols, matrix, view_.cols,
                         static_cast<float*>(packed));
    default:
      return repack_codebook(planes, features_, packed);
  }
}

std::size_t WeightPanels::table_bytes() const {
  return form_ == Form::planes && fills_all_tables(view_) ? align64(decoder_bytes(view_)) : 0;
}
std::size_t WeightPanels::thread_bytes() const {
  if (packed()) return 0;
  const size_t table = table_bytes() > 0 ? 0 : align64(decoder_table_bytes(view_));
  return sizeof(float) * 2 * kRowFloats + table;
}

WeightPanels::Bound WeightPanels::bind(const CodebookView& planes, const void* packed,
                                       void* tables) const {
  Bound out{};
  out.panels = this;
  out.view = form_ == Form::planes ? planes : view_;
  out.packed = packed;
  if (form_ == Form::panels) out.layout = layout_of(view_);
  if (table_bytes() > 0) out.decoder = make_decoder(planes, features_, tables);
  return out;
}

void WeightPanels::Bound::fill(int64_t row0, int64_t rows, int64_t k0, int64_t k, float* dst,
                               int64_t ks, int64_t vs, void* thread_scratch,
                               const int32_t* order) const {
  if (!panels->packed()) return fill_rows(row0, rows, k0, k, dst, ks, vs, thread_scratch, order);
  if (panels->form_ == Form::floats) {
    for (int64_t r = 0; r < rows; r += kLanes) {
      const float* from = static_cast<const float*>(packed) + (row0 + r) * view.cols + k0 * kLanes;
      for (int64_t i = 0; i < k; ++i, from += kLanes)
        std::memcpy(dst + (order ? order[i] : i) * ks + r / kLanes * vs, from, 4 * kLanes);
    }
    return;
  }
  if (panels->form_ == Form::bytes) {
    fill_byte_panels(view, packed, {row0, rows, k0, k, dst, ks, vs, order});
  } else {
    const PackedSource source{view, layout, &packed_kernels(panels->features_),
                              static_cast<const char*>(packed), order};
    fill_packed(&source, {k0, k, row0, rows, dst, ks, vs}, nullptr);
  }
  // Rows that fill up the last panel have indices too.
  if (rows % kLanes == 0) return;
  float* last = dst + rows / kLanes * vs;
  for (int64_t i = 0; i < k; ++i) {
    float* at = last + (order ? order[i] : i) * ks;
    std::fill(at + rows % kLanes, at + kLanes, 0.0f);
  }
}

// Rows that are decoded one after the other, and transposed.
void WeightPanels::Bound::fill_rows(int64_t row0, int64_t rows, int64_t k0, int64_t k, float* dst,
                                    int64_t ks, int64_t vs, void* thread_scratch,
                                    const int32_t* order) const {
  auto* scratch = static_cast<float*>(thread_scratch);
  const LogicalSource source{view, panels->features_,
                             panels->table_bytes() > 0 ? &decoder : nullptr,
                             &gemm_kernels(panels->features_)};
  if (!order) return fill_columns(&source, {k0, k, row0, rows, dst, ks, vs}, scratch + kRowFloats);
  for (int64_t r = 0; r < rows; r += kLanes) {
    for (int64_t i = 0; i < k; i += kDecodeStep) {
      const int64_t count = std::min(kDecodeStep, k - i);
      fill_columns(&source,
                   {k0 + i, count, row0 + r, std::min(kLanes, rows - r), scratch, kLanes, kLanes},
                   scratch + kRowFloats);
      for (int64_t j = 0; j < count; ++j)
        std::memcpy(dst + order[i + j] * ks + r / kLanes * vs, scratch + j * kLanes,
                    sizeof(float) * kLanes);
    }
  }
}

}  // namespace tessera
