#include "ops/conv/int8_rows.h"

#include <memory>

#include "core/text.h"
#include "ops/codebook/node_view.h"
#include "ops/conv/conv.h"
#include "ops/conv/int8_conv.h"
#include "ops/conv/pixel_epilogue.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

constexpr std::int64_t up(std::int64_t n, std::int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Whether an image takes less time in integers: cycles of a core with AVX-512 VNNI, measured layer
// by layer (bench/int8_conv_bench.cpp). The same on every machine and for every batch, as results
// are.
bool wins(const ConvGeometry& g) {
  constexpr double kRounding = 5, kRoundingPlanes = 10;     // of 16 values of x, with their range
  constexpr double kResult = 4, kImage = 5000;              // of 16 values of y; of an image
  constexpr double kFarBytes = 512 << 10, kFarByte = 0.06;  // images out of the second-level cache
  constexpr double kExactShare = 0.85;                      // of its peak that exact products reach
  const auto pixels = static_cast<double>(g.oh * g.ow), values = static_cast<double>(g.h * g.w);
  const auto taps = static_cast<double>(g.kh * g.kw);
  const auto in = static_cast<double>(g.c), out = static_cast<double>(g.out);
  const double padded = static_cast<double>(up(g.c, 4) * up(g.out, kLayoutBlock));
  const double bytes = 4 * (in * values + out * pixels);
  const double integers = pixels * taps * padded / 128 +
                          values * in / 16 * (g.c < kLayoutBlock ? kRoundingPlanes : kRounding) +
                          pixels * out / 16 * kResult + kImage +
                          (bytes > kFarBytes ? bytes * kFarByte : 0);
  const bool winograd = g.kh == 3 && g.kw == 3 && g.stride_h == 1 && g.stride_w == 1 &&
                        g.dilation_h == 1 && g.dilation_w == 1 && g.c >= kLayoutBlock;
  const double saved = !winograd ? 1 : g.c < 2 * kLayoutBlock ? 1.5 : 2.5;
  const double exact = pixels * taps * in * out / 32 / kExactShare / saved;
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

std::string refuses(const KernelQuery& query) {
  if (!query.int8) return "computes in f32";
  const Encoding& encoding = query.node.input(1).type().encoding;
  if (!encoding.is_codebook()) return "the weight is dense";
  if (!encoding.packed_layout().empty()) return "the weight is packed";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  for (std::size_t i = 0; i < query.node.inputs().size(); ++i) {
    const TensorType& type = query.node.inputs()[i].type();
    if (i != 1 && !type.encoding.is_dense() && !is_blocked(type))
      return "an operand is in another layout";
  }
  const ConvGeometry g = conv_geometry(query.node);
  if (g.groups != 1) return "groups: few products for each value of the images";
  if (too_wide(g)) return "an image with its borders is out of proportion to it";
  if (!wins(g)) return "few products for each value of the images";
  const CodebookView view = view_of(query.node.input(1).type());
  if (view.block && view.block < view.cols) return "scale blocks of parts of a row";
  const char* reason = nullptr;
  if (!int8_fits(arranged_view(g, view), &reason)) return reason;
  return PixelEpilogue::refuses(query.node);
}

OperandPack pack_taps(Value weight, const ConvGeometry& g) {
  const CodebookView view = view_of(weight.type());
  const auto order = std::make_shared<const std::vector<std::int32_t>>(int8_conv_order(g));
  return {Encoding::packed("cbint8taps", layout_of_int8(arranged_view(g, view)).bytes,
                           weight.type().encoding),
          [view, order](const KernelArgs& args) {
            pack_int8(bind_view(view, args.in(0)), *order, args.out().plane[0]);
          }};
}

template <std::uint32_t kBits>
KernelPlan prepare(const KernelQuery& query) {
  static constexpr CpuFeatures features{kBits};
  struct State {
    Int8Conv conv;
    std::unique_ptr<PixelEpilogue> epilogue;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const Value x = query.node.input(0), weight = query.node.input(1);
  auto state = std::make_shared<State>(State{
      Int8Conv(g, view_of(weight.type()), is_blocked(x.type()), features, query.threads), nullptr});
  KernelPlan plan;
  plan.packs = {std::nullopt, pack_taps(weight, g)};
  plan.flops = g.flops();
  plan.note = cat("int8, decodes ", state->conv.decoded_rows(), " rows at a time");
  state->epilogue = std::make_unique<PixelEpilogue>(query.node, features, plan);
  plan.scratch_bytes = state->conv.scratch_bytes() + state->epilogue->scratch_bytes();
  plan.run = [state](const KernelArgs& args) {
    const auto epilogue = state->epilogue->bind(args, args.scratch + state->conv.scratch_bytes());
    state->conv.run(args.in(0).as<const float>(), args.in(1).plane[0], args.out().as<float>(),
                    epilogue, args.scratch);
  };
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
    {"conv2d_s8_cb_ref", {}, refuses, prepare<0>}};

}  // namespace

std::span<const KernelRow> conv2d_int8_rows() {
  return kRows;
}

}  // namespace tessera
