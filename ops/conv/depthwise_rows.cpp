// Depthwise convolution of blocked images: plane by plane, sixteen channels in the lanes, by code
// made for the very geometry (lane_code.h). There is little to compute for what is read; the point
// is to read it once, and at the speed of memory.
#include "ops/conv/depthwise_rows.h"

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/conv/lane_code.h"
#include "ops/jit/available.h"
#include "ops/layout/layout.h"
#include "ops/matmul/gemm.h"

namespace tessera {

namespace {

constexpr CpuFeatures kFeatures = kAvx2 | kAvx512;
constexpr std::int64_t kLanes = kLayoutBlock, kBytes = kLanes * 4;
constexpr std::int64_t kMostTaps = 7, kMostColumns = 256;
constexpr std::int64_t kGrain = 16384;  // elements that are worth another thread
static_assert(kLayoutBlock == kImageLanes);

// As in lane_rows.cpp, with the channels of a block in the lanes.
LaneLine forward_line(const ConvGeometry& g) {
  return {g.w, g.ow, g.kw, g.stride_w, 1, g.left};
}
LaneStrides forward_strides(const ConvGeometry& g) {
  return {g.w * kBytes, 0, g.kw * kBytes, kBytes, 0};
}
LaneLine grad_input_line(const ConvGeometry& g) {
  return {g.ow, g.w, g.kw, 1, 1, g.kw - 1 - g.left, g.stride_w};
}
// Rows of taps that meet rows of dy are as far apart as those.
LaneStrides grad_input_strides(const ConvGeometry& g) {
  return {g.ow * kBytes, 0, -g.stride_h * g.kw * kBytes, -kBytes, 0};
}
std::int64_t x_row_step(const ConvGeometry& g) {
  return g.stride_h * g.w * kBytes;
}

std::string refuses(const KernelQuery& query) {
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (!g.depthwise()) return "not depthwise";
  if (g.dilation_h != 1 || g.dilation_w != 1) return "dilation";
  if (g.kh > kMostTaps || g.kw > kMostTaps) return "many taps";
  if (g.w > kMostColumns || g.ow > kMostColumns) return "rows of pixels are long";
  if (!can_generate_code()) return "code cannot be generated";
  for (const char* reason : {lane_tiles_refuse(forward_line(g), forward_strides(g)),
                             lane_tiles_refuse(grad_input_line(g), grad_input_strides(g)),
                             lane_weights_refuse(forward_line(g), x_row_step(g), 0)}) {
    if (*reason != '\0') return reason;
  }
  return {};
}

std::int64_t blocks_of(const ConvGeometry& g) {
  return (g.c + kLanes - 1) / kLanes;
}
std::int64_t grain(std::int64_t plane) {
  return std::max<std::int64_t>(1, kGrain / (plane * kLanes));
}

// w [c, taps] as [blocks, taps, 16], zeros behind the last channel.
void spread_weights(const float* w, std::int64_t c, std::int64_t taps, float* to) {
  gemm_kernels(kFeatures).pack_transpose({w, taps, c, taps, to, kLanes, taps * kLanes});
}

// The convolution itself, and its gradient by x: one of dy, its rows and columns `spread` apart,
// with the taps turned round.
struct Gather {
  std::int64_t planes, blocks, channels, h, w, oh, ow;
  std::int64_t kh, taps, stride, top, spread;
  bool turned;
  LaneStrides strides;
  std::shared_ptr<const LaneCode> code;

  std::int64_t scratch_bytes() const { return blocks * taps * kBytes; }

  void plane(const float* x, const float* weights, float* y) const {
    for (std::int64_t row = 0; row < oh; ++row) {
      std::int64_t first = 0, count = 0, from = 0;  // tap and row of x that meet first
      for (std::int64_t t = 0; t < kh; ++t) {
        const std::int64_t at = row * stride + t - top;
        if (at < 0 || at % spread != 0 || at / spread >= h) continue;
        if (count++ > 0) continue;
        first = t;
        from = at / spread;
      }
      if (count == 0) {
        std::fill_n(y + row * ow * kLanes, ow * kLanes, 0.0f);
        continue;
      }
      const LaneTile args{
          x + from * w * kLanes,
          weights + (turned ? taps - 1 : 0) * kLanes + first * (strides.w_row / spread / 4),
          y + row * ow * kLanes,
          1,
          count,
          0,
          0};
      for (std::size_t p = 0; p < code->pieces().size(); ++p)
        code->tile(static_cast<std::int64_t>(p), 1)(&args);
    }
  }
  void run(const float* x, const float* w, float* y, std::byte* scratch) const {
    auto* weights = reinterpret_cast<float*>(scratch);
    spread_weights(w, channels, taps, weights);
    parallel_for(planes, grain(oh * ow), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        plane(x + i * h * this->w * kLanes, weights + i % blocks * taps * kLanes,
              y + i * oh * ow * kLanes);
      }
    });
  }
};

Gather forward(const ConvGeometry& g) {
  const LaneStrides strides = forward_strides(g);
  return {g.n * blocks_of(g),
          blocks_of(g),
          g.c,
          g.h,
          g.w,
          g.oh,
          g.ow,
          g.kh,
          g.kh * g.kw,
          g.stride_h,
          g.top,
          1,
          false,
          strides,
          depthwise_tiles(forward_line(g), strides)};
}
Gather grad_input(const ConvGeometry& g) {
  const LaneStrides strides = grad_input_strides(g);
  return {g.n * blocks_of(g),
          blocks_of(g),
          g.c,
          g.oh,
          g.ow,
          g.h,
          g.w,
          g.kh,
          g.kh * g.kw,
          1,
          g.kh - 1 - g.top,
          g.stride_h,
          true,
          strides,
          depthwise_tiles(grad_input_line(g), strides)};
}

KernelPlan prepare_forward(const KernelQuery& query) {
  struct State {
    Gather gather;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  const ConvGeometry g = conv_geometry(query.node);
  auto state = std::make_shared<State>(State{forward(g), nullptr});
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), std::nullopt};
  plan.scratch_bytes = state->gather.scratch_bytes();
  plan.flops = g.flops();
  state->epilogue = std::make_unique<ImageEpilogue>(query.node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    state->gather.run(args.in(0).as<const float>(), args.in(1).as<const float>(),
                      args.out().as<float>(), args.scratch);
    state->epilogue->run(args);
  };
  return plan;
}

KernelPlan prepare_grad_input(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  auto state = std::make_shared<const Gather>(grad_input(g));
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), std::nullopt};
  plan.layout = kBlocked;
  plan.scratch_bytes = state->scratch_bytes();
  plan.flops = g.flops();
  plan.run = [state](const KernelArgs& args) {
    state->run(args.in(0).as<const float>(), args.in(1).as<const float>(), args.out().as<float>(),
               args.scratch);
  };
  return plan;
}

// Sums of a plane in f32, then over images in f64.
KernelPlan prepare_grad_weight(const KernelQuery& query) {
  constexpr std::int64_t kPixels = 256;  // whose rows stay in the first-level cache
  const ConvGeometry g = conv_geometry(query.node);
  const auto code = depthwise_weights(forward_line(g), x_row_step(g));
  const std::int64_t planes = g.n * blocks_of(g), taps = g.kh * g.kw;
  const std::int64_t height = std::max<std::int64_t>(1, kPixels / g.ow);
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), as_blocked(query.node.input(1).type())};
  plan.scratch_bytes = planes * taps * kBytes;
  plan.flops = g.flops();
  plan.run = [=](const KernelArgs& args) {
    auto* sums = reinterpret_cast<float*>(args.scratch);
    parallel_for(planes, grain(g.oh * g.ow), [&](std::int64_t begin, std::int64_t end) {
      std::fill(sums + begin * taps * kLanes, sums + end * taps * kLanes, 0.0f);
      for (std::int64_t i = begin; i < end; ++i) {
        const float* dy = args.in(0).as<const float>() + i * g.oh * g.ow * kLanes;
        const float* x = args.in(1).as<const float>() + i * g.h * g.w * kLanes;
        for (std::int64_t top = 0; top < g.oh; top += height) {
          for (std::int64_t t = 0; t < g.kh; ++t) {
            std::int64_t first = top, end_row = std::min(top + height, g.oh);
            const auto row = [&](std::int64_t y) { return y * g.stride_h + t - g.top; };
            while (first < end_row && row(first) < 0) ++first;
            while (first < end_row && row(end_row - 1) >= g.h) --end_row;
            if (first == end_row) continue;
            const LaneWeights part{dy + first * g.ow * kLanes, x + row(first) * g.w * kLanes,
                                   sums + (i * taps + t * g.kw) * kLanes, end_row - first};
            code->weights(1)(&part);
          }
        }
      }
    });
    const std::int64_t blocks = blocks_of(g);
    for (std::int64_t c = 0; c < g.c; ++c) {
      for (std::int64_t t = 0; t < taps; ++t) {
        double total = 0;
        for (std::int64_t n = 0; n < g.n; ++n)
          total += sums[((n * blocks + c / kLanes) * taps + t) * kLanes + c % kLanes];
        args.out().as<float>()[c * taps + t] = static_cast<float>(total);
      }
    }
  };
  return plan;
}

constexpr KernelRow kForward[] = {
    {"conv2d_depthwise_avx512", kFeatures, refuses_image_conv<refuses>, prepare_forward}};
constexpr KernelRow kGradInput[] = {
    {"conv2d_grad_input_depthwise_avx512", kFeatures, refuses, prepare_grad_input}};
constexpr KernelRow kGradWeight[] = {
    {"conv2d_grad_weight_depthwise_avx512", kFeatures, refuses, prepare_grad_weight}};

}  // namespace

std::span<const KernelRow> conv2d_depthwise_rows() {
  return kForward;
}
std::span<const KernelRow> conv2d_grad_input_depthwise_rows() {
  return kGradInput;
}
std::span<const KernelRow> conv2d_grad_weight_depthwise_rows() {
  return kGradWeight;
}

}  // namespace tessera
