#include "ops/conv/int8_rows.h"

#include <memory>

#include "core/text.h"
#include "ops/codebook/node_view.h"
#include "ops/conv/conv.h"
#include "ops/conv/int8_conv.h"
#include "ops/conv/int8_depthwise.h"
#include "ops/conv/pixel_epilogue.h"
#include "ops/layout/byte_images.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Whether an image takes less time in integers: cycles of a core with AVX-512 VNNI, measured layer
// by layer (bench/int8_conv_bench.cpp) between floats; what bytes save is reckoned from those
// figures. The same on every machine and for every batch, as results are.
bool wins(const ConvGeometry& g, bool from_bytes, bool to_bytes) {
  constexpr double kRounding = 5, kRoundingPlanes = 10;     // of 16 values of x, with their range
  constexpr double kCopying = 1;                            // of 16 bytes
  constexpr double kResult = 4, kImage = 5000;              // of 16 values of y; of an image
  constexpr double kFarBytes = 512 << 10, kFarByte = 0.06;  // images out of the second-level cache
  constexpr double kExactShare = 0.85;                      // of its peak that exact products reach
  const auto pixels = static_cast<double>(g.oh * g.ow), values = static_cast<double>(g.h * g.w);
  const auto taps = static_cast<double>(g.kh * g.kw);
  const auto in = static_cast<double>(g.c), out = static_cast<double>(g.out);
  const double padded = static_cast<double>(up(g.c, 4) * up(g.out, kLayoutBlock));
  const double bytes = (from_bytes ? 1 : 4) * in * values + (to_bytes ? 1 : 4) * out * pixels;
  const double taking = from_bytes ? kCopying : g.c < kLayoutBlock ? kRoundingPlanes : kRounding;
  // Results that are rounded here are not rounded by their reader.
  const double integers = pixels * taps * padded / 128 + values * in / 16 * taking +
                          pixels * out / 16 * kResult + kImage +
                          (bytes > kFarBytes ? bytes * kFarByte : 0);
  const bool winograd = g.kh == 3 && g.kw == 3 && g.stride_h == 1 && g.stride_w == 1 &&
                        g.dilation_h == 1 && g.dilation_w == 1 && g.c >= kLayoutBlock;
  const double saved = !winograd ? 1 : g.c < 2 * kLayoutBlock ? 1.5 : 2.5;
  // Images that need not move as floats are written and read.
  const double kept = 3 * ((from_bytes ? in * values : 0) + (to_bytes ? out * pixels : 0));
  const double exact = pixels * taps * in * out / 32 / kExactShare / saved + kept * kFarByte;
  return integers < 0.9 * exact;
}

// Whether an image with its borders as bytes is out of proportion to what it is and gives: strides,
// dilation and borders of a file may be anything.
bool too_wide(const ConvGeometry& g) {
  const auto side = [](std::int64_t out, std::int64_t stride, std::int64_t kernel,
                       std::int64_t dilation) {
    return static_cast<double>(out - 1) * static_cast<double>(stride) +
           static_cast<double>(kernel - 1) * static_cast<double>(dilation) + 1;
  };
  constexpr double kFree = 64 << 10;
  const auto floats = static_cast<double>(g.c) * static_cast<double>(g.h * g.w) +
                      static_cast<double>(g.out) * static_cast<double>(g.oh * g.ow);
  return side(g.oh, g.stride_h, g.kh, g.dilation_h) * side(g.ow, g.stride_w, g.kw, g.dilation_w) *
             static_cast<double>(up(g.c, 4)) >
         kFree + 16 * floats;
}

CodebookView arranged_view(const ConvGeometry& g, const CodebookView& view) {
  return arranged(view, g.kh * g.kw * up(g.c, 4));
}

CodebookView depthwise_view(const ConvGeometry& g, const CodebookView& view) {
  return arranged(view, static_cast<std::int64_t>(int8_depthwise_order(g).size()));
}

bool wants_bytes(const KernelQuery& query) {
  return query.wanted == kByteImages && query.node.types().size() == 1;
}

// But for x.
std::string refuses_operands(const KernelQuery& query) {
  if (!query.int8) return "computes in f32";
  const Encoding& encoding = query.node.input(1).type().encoding;
  if (!encoding.is_codebook()) return "the weight is dense";
  if (!encoding.packed_layout().empty()) return "the weight is packed";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  for (std::size_t i = 2; i < query.node.inputs().size(); ++i) {
    const TensorType& type = query.node.inputs()[i].type();
    if (!type.encoding.is_dense() && !is_blocked(type)) return "an operand is in another layout";
  }
  const CodebookView view = view_of(query.node.input(1).type());
  if (view.block && view.block < view.cols) return "scale blocks of parts of a row";
  return PixelEpilogue::refuses(query.node);
}

// With x as floats or bytes.
std::string refuses_from(const KernelQuery& query, bool from_bytes) {
  if (auto reason = refuses_operands(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (g.groups != 1) return "groups: few products for each value of the images";
  if (too_wide(g)) return "an image with its borders is out of proportion to it";
  if (!wins(g, from_bytes, wants_bytes(query))) return "few products for each value of the images";
  const char* reason = "";
  if (!int8_fits(arranged_view(g, view_of(query.node.input(1).type())), &reason)) return reason;
  return {};
}
std::string refuses(const KernelQuery& query) {
  const TensorType& x = query.node.input(0).type();
  if (!x.encoding.is_dense() && !is_blocked(x) && !is_bytes(x)) return "x is in another layout";
  return refuses_from(query, is_bytes(x));
}

std::string refuses_depthwise_from(const KernelQuery& query) {
  if (auto reason = refuses_operands(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (const char* reason = int8_depthwise_refuses(g); *reason != '\0') return reason;
  const char* reason = "";
  if (!int8_fits(depthwise_view(g, view_of(query.node.input(1).type())), &reason)) return reason;
  return {};
}
std::string refuses_depthwise(const KernelQuery& query) {
  if (!is_bytes(query.node.input(0).type())) return "x is not bytes";
  return refuses_depthwise_from(query);
}

OperandPack pack_columns(Value weight, const CodebookView& to, std::vector<std::int32_t> columns) {
  const CodebookView view = view_of(weight.type());
  const auto order = std::make_shared<const std::vector<std::int32_t>>(std::move(columns));
  return {Encoding::packed("cbint8taps", layout_of_int8(to).bytes, weight.type().encoding),
          [view, order](const KernelArgs& args) {
            pack_int8(bind_view(view, args.in(0)), *order, args.out().plane[0]);
          }};
}

// A convolution of this class, its epilogue and its layout.
template <class Conv>
KernelPlan plan_of(const KernelQuery& query, Conv conv, OperandPack pack, CpuFeatures features) {
  struct State {
    Conv conv;
    std::unique_ptr<PixelEpilogue> epilogue;
  };
  auto state = std::make_shared<State>(State{std::move(conv), nullptr});
  KernelPlan plan;
  plan.packs = {std::nullopt, std::move(pack)};
  plan.flops = conv_geometry(query.node).flops();
  state->epilogue = std::make_unique<PixelEpilogue>(query.node, features, plan);
  if (wants_bytes(query)) plan.layout = kByteImages;
  plan.scratch_bytes = state->conv.scratch_bytes() + state->epilogue->scratch_bytes();
  plan.run = [state](const KernelArgs& args) {
    const auto epilogue = state->epilogue->bind(args, args.scratch + state->conv.scratch_bytes());
    state->conv.run(args.in(0).plane[0], args.in(1).plane[0], args.out().plane[0], epilogue,
                    args.scratch);
  };
  return plan;
}

template <std::uint32_t kBits>
KernelPlan prepare(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  const ConvGeometry g = conv_geometry(query.node);
  const Value x = query.node.input(0), weight = query.node.input(1);
  const CodebookView view = view_of(weight.type());
  Int8Conv conv(g, view, image_form(x.type()), wants_bytes(query), features, query.threads);
  const std::int64_t rows = conv.decoded_rows();
  KernelPlan plan =
      plan_of(query, std::move(conv),
              pack_columns(weight, arranged_view(g, view), int8_conv_order(g)), features);
  plan.note =
      cat("int8, decodes ", rows, " rows at a time", wants_bytes(query) ? ", to bytes" : "");
  return plan;
}

template <std::uint32_t kBits>
KernelPlan prepare_depthwise(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  const ConvGeometry g = conv_geometry(query.node);
  const Value weight = query.node.input(1);
  const CodebookView view = view_of(weight.type());
  KernelPlan plan =
      plan_of(query, Int8Depthwise(g, view, wants_bytes(query), features, query.threads),
              pack_columns(weight, depthwise_view(g, view), int8_depthwise_order(g)), features);
  plan.note = cat("int8", wants_bytes(query) ? ", to bytes" : "");
  return plan;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBitsAvxVnni = kBits2 | kAvxVnni.bits;
constexpr std::uint32_t kBitsVnni = kBits2 | kAvx512.bits | kVnni.bits;
constexpr std::uint32_t kBitsVnniVbmi = kBitsVnni | kVbmi.bits;

constexpr KernelRow kRows[] = {
    {"conv2d_s8_cb_avx512vnnivbmi", {kBitsVnniVbmi}, refuses, prepare<kBitsVnniVbmi>},
    {"conv2d_s8_cb_avx512vnni", {kBitsVnni}, refuses, prepare<kBitsVnni>},
    {"conv2d_s8_cb_avxvnni", {kBitsAvxVnni}, refuses, prepare<kBitsAvxVnni>},
    {"conv2d_s8_cb_avx2", kAvx2, refuses, prepare<kBits2>},
    {"conv2d_s8_cb_ref", {}, refuses, prepare<0>},
    {"conv2d_s8_depthwise_cb_avx512vnnivbmi",
     {kBitsVnniVbmi},
     refuses_depthwise,
     prepare_depthwise<kBitsVnniVbmi>},
    {"conv2d_s8_depthwise_cb_avx512vnni",
     {kBitsVnni},
     refuses_depthwise,
     prepare_depthwise<kBitsVnni>},
    {"conv2d_s8_depthwise_cb_avxvnni",
     {kBitsAvxVnni},
     refuses_depthwise,
     prepare_depthwise<kBitsAvxVnni>},
    {"conv2d_s8_depthwise_cb_avx2", kAvx2, refuses_depthwise, prepare_depthwise<kBits2>},
    {"conv2d_s8_depthwise_cb_ref", {}, refuses_depthwise, prepare_depthwise<0>}};

}  // namespace

std::span<const KernelRow> conv2d_int8_rows() {
  return kRows;
}

std::string_view conv2d_wants(const KernelQuery& query, int i) {
  if (i != 0) return {};
  const bool takes = refuses_from(query, true).empty() || refuses_depthwise_from(query).empty();
  return takes ? kByteImages : std::string_view();
}

}  // namespace tessera
