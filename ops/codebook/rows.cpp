#include "ops/codebook/rows.h"

#include <cstring>

#include "ops/codebook/byte_panels.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/codebook_matmul.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/int8_pack.h"
#include "ops/codebook/node_view.h"
#include "ops/layout/byte_images.h"
#include "ops/layout/layout.h"

namespace tessera {

CodebookView make_view(const CodebookFormat& format, const Shape& shape, std::int64_t k) {
  CodebookView view;
  view.bits = format.bits;
  view.entry_dtype = format.entry_dtype == DType::f32    ? EntryDtype::kF32
                     : format.entry_dtype == DType::bf16 ? EntryDtype::kBf16
                                                         : EntryDtype::kS8;
  view.k = static_cast<int>(k);
  view.vector_len = format.vector_len;
  view.rows = CodebookFormat::rows(shape);
  view.cols = CodebookFormat::row_length(shape);
  view.group_rows = format.group_rows;
  view.block = format.block_length(shape);
  return view;
}

CodebookView view_of(const TensorType& weight) {
  const std::int64_t k = weight.encoding.entries();
  TESSERA_ASSERT(k > 0);
  return make_view(*weight.encoding.codebook_format(), weight.shape, k);
}

CodebookView bind_view(CodebookView view, const BufferRef& planes) {
  view.indices = planes.as<const std::uint8_t>(0);
  view.entries = planes.plane[1];
  view.scale = planes.as<const float>(2);
  return view;
}

OperandPack pack_codebook(Value weight, CpuFeatures features) {
  const CodebookView view = view_of(weight.type());
  return {Encoding::packed("cbpanel", static_cast<std::int64_t>(packed_bytes(view)),
                           weight.type().encoding),
          [view, features](const KernelArgs& args) {
            repack_codebook(bind_view(view, args.in(0)), features, args.out().plane[0]);
          }};
}

OperandPack pack_bytes(Value weight) {
  const CodebookView view = view_of(weight.type());
  return {Encoding::packed("cbbytes", static_cast<std::int64_t>(byte_panels_bytes(view)),
                           weight.type().encoding),
          [view](const KernelArgs& args) {
            pack_byte_panels(bind_view(view, args.in(0)), args.out().plane[0]);
          }};
}

OperandPack pack_int8(Value weight) {
  const CodebookView view = view_of(weight.type());
  return {Encoding::packed("cbint8", layout_of_int8(view).bytes, weight.type().encoding),
          [view](const KernelArgs& args) {
            pack_int8(bind_view(view, args.in(0)), args.out().plane[0]);
          }};
}

WeightPanels panels_of(Value weight, bool fixed, CpuFeatures features) {
  if (weight.type().encoding.is_codebook()) return {view_of(weight.type()), fixed, features};
  const Shape& shape = weight.shape();
  return {CodebookFormat::rows(shape), CodebookFormat::row_length(shape), features};
}

std::optional<OperandPack> pack_weight(Value weight, const WeightPanels& panels) {
  if (!panels.packed()) return std::nullopt;
  const bool dense = !weight.type().encoding.is_codebook();
  const CodebookView view = dense ? CodebookView{} : view_of(weight.type());
  return OperandPack{
      Encoding::packed(std::string(panels.layout()),
                       static_cast<std::int64_t>(panels.packed_bytes()), weight.type().encoding),
      [dense, view, panels](const KernelArgs& args) {
        panels.pack(dense ? view : bind_view(view, args.in(0)), args.in(0).as<const float>(),
                    args.out().plane[0]);
      }};
}

namespace {

std::string refuses_decode(const KernelQuery& query) {
  const Encoding& encoding = query.node.input(0).type().encoding;
  if (encoding.is_dense()) return "the operand is dense";
  return encoding.packed_layout().empty() ? "" : "the operand is packed";
}

template <std::uint32_t kBits>
KernelPlan prepare_decode(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  const CodebookView view = view_of(query.node.input(0).type());
  KernelPlan out;
  out.run = [view](const KernelArgs& args) {
    decode_rows(bind_view(view, args.in(0)), 0, view.rows, args.out().as<float>(), view.cols,
                features);
  };
  return out;
}

std::string refuses_dense_copy(const KernelQuery& query) {
  return query.node.input(0).type().encoding.is_dense() ? "" : "the operand is encoded";
}

// decode of a dense value, which only tests and rewrites make.
KernelPlan prepare_dense_copy(const KernelQuery& query) {
  const TensorType& type = query.node.types()[0];
  const auto bytes = static_cast<std::size_t>(type.shape.numel() * size_of(type.dtype));
  KernelPlan out;
  out.run = [bytes](const KernelArgs& args) {
    std::memcpy(args.out().plane[0], args.in(0).plane[0], bytes);
  };
  return out;
}

std::string refuses_nothing(const KernelQuery&) {
  return {};
}

CodebookView gradient_view(const Node& node, DType entry_dtype, std::int64_t k) {
  return make_view(codebook_format(node.attrs(), entry_dtype), node.attrs().shape("shape"), k);
}

template <std::uint32_t kBits>
KernelPlan prepare_entries_grad(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  const CodebookView view =
      gradient_view(query.node, DType::f32, query.node.attrs().integer("entries"));
  const auto bytes = static_cast<std::size_t>(query.node.types()[0].shape.numel()) * sizeof(float);
  KernelPlan out;
  out.scratch_bytes = static_cast<std::int64_t>(codebook_gradient_scratch(view));
  out.run = [view, bytes](const KernelArgs& args) {
    CodebookView v = view;
    v.indices = args.in(1).as<const std::uint8_t>();
    if (args.inputs.size() > 2) v.scale = args.in(2).as<const float>();
    std::memset(args.out().plane[0], 0, bytes);
    codebook_gradient(v, args.in(0).as<const float>(), v.cols, args.out().as<float>(), nullptr,
                      features, args.scratch);
  };
  return out;
}

template <std::uint32_t kBits>
KernelPlan prepare_scale_grad(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  const TensorType& entries = query.node.input(2).type();
  const CodebookView view = gradient_view(query.node, entries.dtype, entries.shape[1].value());
  const auto bytes = static_cast<std::size_t>(query.node.types()[0].shape.numel()) * sizeof(float);
  KernelPlan out;
  out.scratch_bytes = static_cast<std::int64_t>(codebook_gradient_scratch(view));
  out.run = [view, bytes](const KernelArgs& args) {
    CodebookView v = view;
    v.indices = args.in(1).as<const std::uint8_t>();
    v.entries = args.in(2).plane[0];
    std::memset(args.out().plane[0], 0, bytes);
    codebook_gradient(v, args.in(0).as<const float>(), v.cols, nullptr, args.out().as<float>(),
                      features, args.scratch);
  };
  return out;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kBits2 | kAvx512.bits;
constexpr std::uint32_t kBitsVbmi = kBits512 | kVbmi.bits;

constexpr KernelRow kDecodeRows[] = {
    kUnblockRow,
    kFloatsRow,
    {"decode_cb_avx512vbmi", {kBitsVbmi}, refuses_decode, prepare_decode<kBitsVbmi>},
    {"decode_cb_avx512", {kBits512}, refuses_decode, prepare_decode<kBits512>},
    {"decode_cb_avx2", kAvx2, refuses_decode, prepare_decode<kBits2>},
    {"decode_cb_ref", {}, refuses_decode, prepare_decode<0>},
    {"copy", {}, refuses_dense_copy, prepare_dense_copy},
};
constexpr KernelRow kEntriesGradRows[] = {
    {"codebook_entries_grad_avx512", {kBits512}, refuses_nothing, prepare_entries_grad<kBits512>},
    {"codebook_entries_grad_avx2", kAvx2, refuses_nothing, prepare_entries_grad<kBits2>},
    {"codebook_entries_grad_ref", {}, refuses_nothing, prepare_entries_grad<0>},
};
constexpr KernelRow kScaleGradRows[] = {
    {"codebook_scale_grad_avx512", {kBits512}, refuses_nothing, prepare_scale_grad<kBits512>},
    {"codebook_scale_grad_avx2", kAvx2, refuses_nothing, prepare_scale_grad<kBits2>},
    {"codebook_scale_grad_ref", {}, refuses_nothing, prepare_scale_grad<0>},
};

}  // namespace

std::span<const KernelRow> decode_rows() {
  return kDecodeRows;
}
std::span<const KernelRow> codebook_entries_grad_rows() {
  return kEntriesGradRows;
}
std::span<const KernelRow> codebook_scale_grad_rows() {
  return kScaleGradRows;
}

}  // namespace tessera
