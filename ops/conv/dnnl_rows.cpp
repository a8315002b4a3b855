// Convolution by oneDNN on blocked images: direct, and Winograd F(4x4, 3x3) where it pays. The
// weights are reordered by a repack of their own, once when they are fixed. Measured on two Zen 5
// cores (bench/kernels_bench): Winograd runs 3x3 layers of stride 1 with 32 channels and more at
// 1.3 to 2.6 times the direct peak, with a relative error below 3e-6; on smaller images than 4x4
// and fewer channels direct wins.
#include "ops/conv/dnnl_rows.h"

#include <algorithm>
#include <memory>

#include "ops/conv/conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/dnnl/dnnl.h"
#include "ops/layout/layout.h"

namespace tessera {

namespace {

using dnnl::algorithm;
using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;
using dnnl::prop_kind;
using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;

// Images of fewer channels than a block are read as they are.
bool reads_dense(const ConvGeometry& g) {
  return g.c < kLayoutBlock;
}

Dims weight_dims(const ConvGeometry& g) {
  if (g.groups == 1) return {g.out, g.c, g.kh, g.kw};
  return {g.groups, g.group_outputs(), g.group_channels(), g.kh, g.kw};
}
using Type = dnnl::memory::data_type;
Desc weight_desc(const ConvGeometry& g, bool any, Type type = Type::f32) {
  using Tag = dnnl::memory::format_tag;
  const Tag dense = g.groups == 1 ? Tag::oihw : Tag::goihw;
  return {weight_dims(g), type, any ? Tag::any : dense};
}

struct Geometry {
  ConvGeometry g;
  Desc x, w, y;
  Dims stride, dilation, before, after;

  // Types of x, the weight and y, or of their gradients.
  Geometry(const ConvGeometry& geometry, Type tx, Type tw, Type ty)
      : g(geometry),
        x(dnnl_image({g.n, g.c, g.h, g.w}, !reads_dense(g), tx)),
        w(weight_desc(g, true, tw)),
        y(dnnl_image({g.n, g.out, g.oh, g.ow}, true, ty)),
        stride{g.stride_h, g.stride_w},
        dilation{g.dilation_h - 1, g.dilation_w - 1},
        before{g.top, g.left},
        after{g.bottom, g.right} {}

  auto forward(algorithm a) const {
    return convolution_forward::primitive_desc(
        {prop_kind::forward_training, a, x, w, y, stride, dilation, before, after}, dnnl_attr(),
        dnnl_engine());
  }
  auto backward_data(algorithm a) const {
    return convolution_backward_data::primitive_desc({a, x, w, y, stride, dilation, before, after},
                                                     dnnl_attr(), dnnl_engine(), forward_hint(a));
  }
  auto backward_weights(algorithm a) const {
    return convolution_backward_weights::primitive_desc(
        {a, x, w, y, stride, dilation, before, after}, dnnl_attr(), dnnl_engine(), forward_hint(a));
  }
  // A forward pass of the types that go together.
  convolution_forward::primitive_desc forward_hint(algorithm a) const {
    const bool bf16 = y.data_type() == Type::bf16;
    const Type type = bf16 ? Type::bf16 : Type::f32;
    return Geometry(g, type, type, Type::f32).forward(a);
  }
};

// The forward, backward data or backward weights primitive that a node asks for.
template <algorithm kAlgorithm, Type kType>
auto forward_primitive(const ConvGeometry& g) {
  return Geometry(g, kType, kType, Type::f32).forward(kAlgorithm);
}
template <algorithm kAlgorithm, Type kType>
auto grad_input_primitive(const ConvGeometry& g) {
  return Geometry(g, Type::f32, kType, kType).backward_data(kAlgorithm);
}
template <algorithm kAlgorithm, Type kType>
auto grad_weight_primitive(const ConvGeometry& g) {
  return Geometry(g, kType, Type::f32, kType).backward_weights(kAlgorithm);
}

// "" when oneDNN has a kernel of its own and not just plain loops (as for padded pointwise layers).
template <auto make>
std::string refuses_reference(const ConvGeometry& g) {
  try {
    const std::string name = make(g).impl_info_str();
    return name.find("ref") == std::string::npos ? "" : "oneDNN has only " + name;
  } catch (const dnnl::error& e) {
    return std::string("oneDNN: ") + e.message;
  }
}

bool winograd_pays(const ConvGeometry& g) {
  return g.kh == 3 && g.kw == 3 && g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 &&
         g.dilation_w == 1 && g.groups == 1 && g.c >= 32 && g.out >= 32 &&
         g.c % kLayoutBlock == 0 && g.out % kLayoutBlock == 0 && g.oh >= 4 && g.ow >= 4;
}

// oneDNN's kernels keep offsets within one image, and from tap to tap and stride to stride, in 32
// bits.
bool steps_far(const ConvGeometry& g) {
  constexpr double kMost = 2147483647.0 / (kLayoutBlock * 4);  // pixels of a block of channels
  const auto blocks = [](std::int64_t c) { return (static_cast<double>(c) + 15) / 16; };
  const auto w = static_cast<double>(g.w), ow = static_cast<double>(g.ow);
  const double rows = static_cast<double>(std::max(g.kh * g.dilation_h, g.stride_h));
  const double columns = static_cast<double>(std::max(g.kw * g.dilation_w, g.stride_w));
  return blocks(g.c) * w * static_cast<double>(g.h) > kMost ||
         blocks(g.out) * ow * static_cast<double>(g.oh) > kMost || rows * w > kMost ||
         columns > kMost ||
         static_cast<double>(g.out) * static_cast<double>(g.patch()) > kMost * 16;
}

std::string refuses(const KernelQuery& query) {
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (g.groups > 1 && !g.depthwise()) {
    if (g.group_channels() % kLayoutBlock != 0 || g.group_outputs() % kLayoutBlock != 0)
      return "groups are no multiples of 16 channels";
  }
  // oneDNN has plain loops only where padding is as wide as the kernel: hundreds of times slower.
  const auto beyond = [](std::int64_t kernel, std::int64_t dilation, std::int64_t a,
                         std::int64_t b) { return std::max(a, b) > (kernel - 1) * dilation; };
  if (beyond(g.kh, g.dilation_h, g.top, g.bottom) || beyond(g.kw, g.dilation_w, g.left, g.right))
    return "padding as wide as the kernel";
  if (steps_far(g)) return "an image or its strides are over 32 bits";
  if (reads_dense(g) && is_blocked(query.node.input(&query.node.op() == &kConv2dGradWeight).type()))
    return "few channels, but blocked";
  return {};
}
std::string refuses_grad_input(const KernelQuery& query) {
  if (reads_dense(conv_geometry(query.node))) return "fewer than 16 channels";
  return refuses(query);
}

template <std::string (*base)(const KernelQuery&)>
std::string refuses_winograd(const KernelQuery& query) {
  if (auto reason = base(query); !reason.empty()) return reason;
  if (!winograd_pays(conv_geometry(query.node))) {
    return "Winograd needs 3x3, stride 1, 32 channels and more, images of 4x4 and more";
  }
  return {};
}

// An operand as the primitive reads it: dense, blocked, or blocked and rounded to bf16.
std::optional<OperandPack> pack_image(Value v, bool dense, Type type) {
  const bool blocked = is_blocked(v.type());
  if (type == Type::bf16) {
    return dnnl_pack(dnnl_image(v.shape(), blocked), dnnl_image(v.shape(), true, type));
  }
  if (dense) return std::nullopt;
  return as_blocked(v.type());
}

// bf16 doubles the peak of direct convolution; Winograd in f32 gains more where it applies.
template <std::string (*base)(const KernelQuery&)>
std::string refuses_bf16(const KernelQuery& query) {
  if (!query.bf16) return "computes in f32";
  if (auto reason = base(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (reads_dense(g) || g.depthwise()) return "few channels";
  // Of weights' gradients Winograd gains less: at 14x14 as much as bf16, at 28x28 two thirds of it.
  const bool large = g.oh * g.ow > 14 * 14;
  if (winograd_pays(g) && !(large && &query.node.op() == &kConv2dGradWeight))
    return "Winograd pays";
  return {};
}

template <algorithm kAlgorithm, Type kType>
KernelPlan prepare_forward(const KernelQuery& query) {
  const Node& node = query.node;
  struct State {
    Desc x, w, y;
    DnnlPrimitive conv;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  const ConvGeometry g = conv_geometry(node);
  const auto pd = forward_primitive<kAlgorithm, kType>(g);
  auto state = std::make_shared<State>(
      State{pd.src_desc(), pd.weights_desc(), pd.dst_desc(), DnnlPrimitive(pd), nullptr});
  KernelPlan plan;
  plan.packs = {pack_image(node.input(0), reads_dense(g), kType),
                dnnl_pack(weight_desc(g, false), state->w)};
  plan.note = pd.impl_info_str();
  plan.flops = g.flops();
  plan.scratch_bytes = state->conv.scratch_bytes();
  state->epilogue = std::make_unique<ImageEpilogue>(node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    state->conv.run({{DNNL_ARG_SRC, state->x, args.in(0).plane[0]},
                     {DNNL_ARG_WEIGHTS, state->w, args.in(1).plane[0]},
                     {DNNL_ARG_DST, state->y, args.out().plane[0]}},
                    args.scratch);
    state->epilogue->run(args);
  };
  return plan;
}

template <algorithm kAlgorithm, Type kType>
KernelPlan prepare_grad_input(const KernelQuery& query) {
  const Node& node = query.node;
  struct State {
    Desc x, w, y;
    DnnlPrimitive conv;
  };
  const ConvGeometry g = conv_geometry(node);
  const auto pd = grad_input_primitive<kAlgorithm, kType>(g);
  auto state = std::make_shared<const State>(
      State{pd.diff_src_desc(), pd.weights_desc(), pd.diff_dst_desc(), DnnlPrimitive(pd)});
  KernelPlan plan;
  plan.packs = {pack_image(node.input(0), false, kType),
                dnnl_pack(weight_desc(g, false), state->w)};
  plan.layout = kBlocked;
  plan.note = pd.impl_info_str();
  plan.flops = g.flops();
  plan.scratch_bytes = state->conv.scratch_bytes();
  plan.run = [state](const KernelArgs& args) {
    state->conv.run({{DNNL_ARG_DIFF_DST, state->y, args.in(0).plane[0]},
                     {DNNL_ARG_WEIGHTS, state->w, args.in(1).plane[0]},
                     {DNNL_ARG_DIFF_SRC, state->x, args.out().plane[0]}},
                    args.scratch);
  };
  return plan;
}

template <algorithm kAlgorithm, Type kType>
KernelPlan prepare_grad_weight(const KernelQuery& query) {
  const Node& node = query.node;
  struct State {
    Desc x, w, y, dense;
    DnnlPrimitive conv, reorder;
    std::int64_t weight_bytes;  // of dw as oneDNN makes it, at the start of the scratch
  };
  const ConvGeometry g = conv_geometry(node);
  const auto pd = grad_weight_primitive<kAlgorithm, kType>(g);
  const Desc w = pd.diff_weights_desc(), dense = weight_desc(g, false);
  const auto bytes = static_cast<std::int64_t>((w.get_size() + 63) / 64 * 64);
  auto state =
      std::make_shared<const State>(State{pd.src_desc(), w, pd.diff_dst_desc(), dense,
                                          DnnlPrimitive(pd), dnnl_reorder(w, dense), bytes});
  KernelPlan plan;
  plan.packs = {pack_image(node.input(0), false, kType),
                pack_image(node.input(1), reads_dense(g), kType)};
  plan.note = pd.impl_info_str();
  plan.flops = g.flops();
  plan.scratch_bytes =
      bytes + std::max(state->conv.scratch_bytes(), state->reorder.scratch_bytes());
  plan.run = [state](const KernelArgs& args) {
    std::byte* rest = args.scratch + state->weight_bytes;
    state->conv.run({{DNNL_ARG_DIFF_DST, state->y, args.in(0).plane[0]},
                     {DNNL_ARG_SRC, state->x, args.in(1).plane[0]},
                     {DNNL_ARG_DIFF_WEIGHTS, state->w, args.scratch}},
                    rest);
    state->reorder.run(
        {{DNNL_ARG_FROM, state->w, args.scratch}, {DNNL_ARG_TO, state->dense, args.out().plane[0]}},
        rest);
  };
  return plan;
}

constexpr auto kDirect = algorithm::convolution_direct;
constexpr auto kWinograd = algorithm::convolution_winograd;
constexpr CpuFeatures kBf16Products{(kAvx512 | kBf16).bits};

// Rows of one op: bf16, Winograd, direct.
using Refuses = std::string (*)(const KernelQuery&);
template <Refuses base, auto make>
std::string refuses_with(const KernelQuery& query) {
  if (auto reason = base(query); !reason.empty()) return reason;
  return refuses_reference<make>(conv_geometry(query.node));
}

constexpr KernelRow kForward[] = {
    {"conv2d_onednn_bf16", kBf16Products,
     refuses_with<refuses_bf16<refuses_image_conv<refuses>>,
                  forward_primitive<kDirect, Type::bf16>>,
     prepare_forward<kDirect, Type::bf16>},
    {"conv2d_onednn_winograd", kAvx512,
     refuses_with<refuses_winograd<refuses_image_conv<refuses>>,
                  forward_primitive<kWinograd, Type::f32>>,
     prepare_forward<kWinograd, Type::f32>},
    {"conv2d_onednn_direct", kAvx512,
     refuses_with<refuses_image_conv<refuses>, forward_primitive<kDirect, Type::f32>>,
     prepare_forward<kDirect, Type::f32>}};
constexpr KernelRow kGradInput[] = {
    {"conv2d_grad_input_onednn_bf16", kBf16Products,
     refuses_with<refuses_bf16<refuses_grad_input>, grad_input_primitive<kDirect, Type::bf16>>,
     prepare_grad_input<kDirect, Type::bf16>},
    {"conv2d_grad_input_onednn_winograd", kAvx512,
     refuses_with<refuses_winograd<refuses_grad_input>, grad_input_primitive<kWinograd, Type::f32>>,
     prepare_grad_input<kWinograd, Type::f32>},
    {"conv2d_grad_input_onednn_direct", kAvx512,
     refuses_with<refuses_grad_input, grad_input_primitive<kDirect, Type::f32>>,
     prepare_grad_input<kDirect, Type::f32>}};
constexpr KernelRow kGradWeight[] = {
    {"conv2d_grad_weight_onednn_bf16", kBf16Products,
     refuses_with<refuses_bf16<refuses>, grad_weight_primitive<kDirect, Type::bf16>>,
     prepare_grad_weight<kDirect, Type::bf16>},
    {"conv2d_grad_weight_onednn_winograd", kAvx512,
     refuses_with<refuses_winograd<refuses>, grad_weight_primitive<kWinograd, Type::f32>>,
     prepare_grad_weight<kWinograd, Type::f32>},
    {"conv2d_grad_weight_onednn_direct", kAvx512,
     refuses_with<refuses, grad_weight_primitive<kDirect, Type::f32>>,
     prepare_grad_weight<kDirect, Type::f32>}};

}  // namespace

std::span<const KernelRow> conv2d_dnnl_rows() {
  return kForward;
}
std::span<const KernelRow> conv2d_grad_input_dnnl_rows() {
  return kGradInput;
}
std::span<const KernelRow> conv2d_grad_weight_dnnl_rows() {
  return kGradWeight;
}

}  // namespace tessera
