// Convolution with sixteen images in the lanes of a vector, by code made for the very geometry
// (lane_code.h): for channels that would leave blocks of sixteen mostly empty, where a product with
// patches would spend its time on making them. Images are put into lanes before, results back.
#include "ops/conv/lane_rows.h"

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "ops/conv/gemm_rows.h"
#include "ops/conv/lane_code.h"
#include "ops/conv/plane_epilogue.h"
#include "ops/jit/available.h"
#include "ops/matmul/gemm.h"

namespace tessera {

namespace {

constexpr CpuFeatures kFeatures = kAvx2 | kAvx512;
constexpr std::int64_t kLanes = kImageLanes, kBytes = kLanes * 4;
constexpr std::int64_t kMostScratch = 64 << 20;

std::int64_t blocks_of(std::int64_t images) {
  return (images + kLanes - 1) / kLanes;
}

// Lines and strides of the forward pass, of its gradient by x (the same of dy with the taps turned
// round), and of the gradient of the weights.
LaneLine forward_line(const ConvGeometry& g) {
  return {g.w, g.ow, g.kw, g.stride_w, g.dilation_w, g.left};
}
LaneStrides forward_strides(const ConvGeometry& g) {
  return {g.dilation_h * g.w * kBytes, g.patch() * 4, g.kw * 4, 4, g.oh * g.ow * kBytes};
}
LaneLine grad_input_line(const ConvGeometry& g) {
  return {g.ow, g.w, g.kw, 1, g.dilation_w, (g.kw - 1) * g.dilation_w - g.left};
}
LaneStrides grad_input_strides(const ConvGeometry& g) {
  return {g.dilation_h * g.ow * kBytes, g.kh * g.kw * 4, -g.kw * 4, -4, g.h * g.w * kBytes};
}
std::int64_t x_row_step(const ConvGeometry& g) {
  return g.stride_h * g.w * kBytes;
}
std::int64_t dy_plane(const ConvGeometry& g) {
  return g.oh * g.ow * kBytes;
}

std::string refuses(const KernelQuery& query) {
  if (auto reason = refuses_narrow(query); !reason.empty()) return reason;
  if (!can_generate_code()) return "code cannot be generated";
  const ConvGeometry g = conv_geometry(query.node);
  if (4 * blocks_of(g.n) * kLanes > 5 * g.n) return "images fill no lanes";
  if (blocks_of(g.n) * kBytes * (g.c * g.h * g.w + g.out * g.oh * g.ow) > kMostScratch)
    return "images are large";
  const LaneLine forward = forward_line(g), backward = grad_input_line(g);
  for (const char* reason : {lane_code_refuses(forward), lane_code_refuses(backward),
                             lane_tiles_refuse(forward, forward_strides(g)),
                             lane_tiles_refuse(backward, grad_input_strides(g)),
                             lane_weights_refuse(forward, x_row_step(g), dy_plane(g))}) {
    if (*reason != '\0') return reason;
  }
  return {};
}
std::string refuses_input(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  if (g.stride_h != 1 || g.stride_w != 1) return "strides";
  return refuses(query);
}

// Images [n, size] into lanes: [blocks, size, 16], zeros behind the last image.
void into_lanes(const float* x, std::int64_t n, std::int64_t size, float* lanes) {
  const auto transpose = gemm_kernels(kFeatures).pack_transpose;
  parallel_for(blocks_of(n), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      transpose({x + b * kLanes * size, size, std::min(kLanes, n - b * kLanes), size,
                 lanes + b * size * kLanes, kLanes, 0});
    }
  });
}

// Rows of taps that meet the image: tap t of pixel p reads p * stride + t * dilation - padding.
struct Taps {
  std::int64_t first, count;
  Taps(std::int64_t offset, std::int64_t dilation, std::int64_t taps, std::int64_t size) {
    first = offset < 0 ? (-offset + dilation - 1) / dilation : 0;
    const std::int64_t end = offset < size ? (size - 1 - offset) / dilation + 1 : 0;
    count = std::max<std::int64_t>(0, std::min(taps, end) - first);
  }
};

// y[o] = sum over c and taps of x[c] w[o, c]: the convolution itself, and its gradient by x, which
// is one of dy with the taps turned round.
struct Gather {
  std::int64_t n, c, h, w, out, oh, ow;
  std::int64_t taps, stride, dilation, top;  // along columns of pixels
  LaneLine line;
  LaneStrides strides;
  std::int64_t w_first, w_channel;  // elements; bytes
  std::shared_ptr<const LaneCode> code;
  int threads;

  std::int64_t lanes_floats() const { return blocks_of(n) * c * h * w * kLanes; }
  std::int64_t tile_floats() const { return code->outputs() * oh * ow * kLanes; }
  std::int64_t image_floats() const {  // of a tile, for one image
    return (code->outputs() * oh * ow + kLanes - 1) / kLanes * kLanes;
  }
  std::int64_t part_floats() const { return tile_floats() + image_floats() * kLanes; }
  std::int64_t scratch_bytes() const { return 4 * (lanes_floats() + part_floats() * threads); }

  // Outputs [first, first + count) of the sixteen images at `x`.
  void tile(const float* x, const float* weights, std::int64_t first, std::int64_t count,
            float* y) const {
    for (std::int64_t row = 0; row < oh; ++row) {
      const std::int64_t offset = row * stride - top;
      const Taps t(offset, dilation, taps, h);
      if (t.count == 0) {
        for (std::int64_t m = 0; m < count; ++m)
          std::fill_n(y + (m * oh + row) * ow * kLanes, ow * kLanes, 0.0f);
        continue;
      }
      const LaneTile args{
          x + (offset + t.first * dilation) * w * kLanes,
          weights + w_first + (first * strides.w_output + t.first * strides.w_row) / 4,
          y + row * ow * kLanes,
          c,
          t.count,
          h * w * kBytes - t.count * strides.x_row,
          w_channel - t.count * strides.w_row};
      for (std::size_t p = 0; p < code->pieces().size(); ++p)
        code->tile(static_cast<std::int64_t>(p), count)(&args);
    }
  }

  // store(image, first output, outputs, values [outputs, pixels])
  template <class Store>
  void run(const float* x, const float* weights, std::byte* scratch, Store&& store) const {
    auto* lanes = reinterpret_cast<float*>(scratch);
    into_lanes(x, n, c * h * w, lanes);
    const std::int64_t outputs = code->outputs(), tiles = (out + outputs - 1) / outputs;
    const std::int64_t units = blocks_of(n) * tiles;
    const std::int64_t parts = std::min<std::int64_t>(units, threads);
    parallel_parts(parts, [&](std::int64_t part) {
      float* y = lanes + lanes_floats() + part * part_floats();
      float* images = y + tile_floats();
      for (std::int64_t u = units * part / parts; u < units * (part + 1) / parts; ++u) {
        const std::int64_t block = u / tiles, first = u % tiles * outputs;
        const std::int64_t count = std::min(outputs, out - first);
        tile(lanes + block * c * h * w * kLanes, weights, first, count, y);
        gemm_kernels(kFeatures).pack_transpose(
            {y, kLanes, count * oh * ow, kLanes, images, image_floats(), kLanes});
        for (std::int64_t i = 0; i < std::min(kLanes, n - block * kLanes); ++i)
          store(block * kLanes + i, first, count, images + i * image_floats());
      }
    });
  }
};

Gather forward(const ConvGeometry& g, int threads) {
  Gather out{g.n,
             g.c,
             g.h,
             g.w,
             g.out,
             g.oh,
             g.ow,
             g.kh,
             g.stride_h,
             g.dilation_h,
             g.top,
             forward_line(g),
             forward_strides(g),
             0,
             g.kh * g.kw * 4,
             nullptr,
             threads};
  out.code = lane_tiles(out.line, out.strides, out.out);
  return out;
}
Gather grad_input(const ConvGeometry& g, int threads) {
  const std::int64_t taps = g.kh * g.kw;
  Gather out{g.n,
             g.out,
             g.oh,
             g.ow,
             g.c,
             g.h,
             g.w,
             g.kh,
             1,
             g.dilation_h,
             (g.kh - 1) * g.dilation_h - g.top,
             grad_input_line(g),
             grad_input_strides(g),
             taps - 1,
             g.patch() * 4,
             nullptr,
             threads};
  out.code = lane_tiles(out.line, out.strides, out.out);
  return out;
}

KernelPlan prepare_forward(const KernelQuery& query) {
  struct State {
    Gather gather;
    std::unique_ptr<const CarriedProgram> epilogue;
  };
  const ConvGeometry g = conv_geometry(query.node);
  auto state = std::make_shared<State>(State{forward(g, query.threads), nullptr});
  state->epilogue = plane_epilogue(query.node, g, kFeatures);
  KernelPlan plan;
  plan.flops = g.flops();
  plan.scratch_bytes = state->gather.scratch_bytes();
  plan.in_place = true;
  plan.run = [state](const KernelArgs& args) {
    const Gather& gather = state->gather;
    const std::int64_t pixels = gather.oh * gather.ow;
    gather.run(args.in(0).as<const float>(), args.in(1).as<const float>(), args.scratch,
               [&](std::int64_t n, std::int64_t first, std::int64_t count, float* values) {
                 if (state->epilogue) {
                   auto call = state->epilogue->bind(args, n, first);
                   CarriedProgram::run(&call, 0, count, 0, pixels, values, pixels);
                 } else {
                   std::copy_n(values, count * pixels,
                               args.out().as<float>() + (n * gather.out + first) * pixels);
                 }
               });
  };
  return plan;
}

KernelPlan prepare_grad_input(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  auto state = std::make_shared<const Gather>(grad_input(g, query.threads));
  KernelPlan plan;
  plan.flops = g.flops();
  plan.scratch_bytes = state->scratch_bytes();
  plan.run = [state](const KernelArgs& args) {
    const std::int64_t pixels = state->oh * state->ow;
    state->run(args.in(0).as<const float>(), args.in(1).as<const float>(), args.scratch,
               [&](std::int64_t n, std::int64_t first, std::int64_t count, const float* values) {
                 std::copy_n(values, count * pixels,
                             args.out().as<float>() + (n * state->out + first) * pixels);
               });
  };
  return plan;
}

// In a fixed order.
float sum_of(const float* lanes) {
  float a[kLanes];
  std::copy_n(lanes, kLanes, a);
  for (std::int64_t w = kLanes / 2; w > 0; w /= 2)
    for (std::int64_t i = 0; i < w; ++i) a[i] += a[i + w];
  return a[0];
}

// Each thread takes weights, not images: some outputs and one channel, over all images in order.
KernelPlan prepare_grad_weight(const KernelQuery& query) {
  struct State {
    ConvGeometry g;
    std::shared_ptr<const LaneCode> code;
    int threads;
    std::int64_t x_floats, dy_floats, sums_floats;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const auto code = lane_weights(forward_line(g), x_row_step(g), dy_plane(g), g.out);
  auto state = std::make_shared<const State>(
      State{g, code, query.threads, blocks_of(g.n) * g.c * g.h * g.w * kLanes,
            blocks_of(g.n) * g.out * g.oh * g.ow * kLanes, g.kh * g.kw * code->outputs() * kLanes});
  KernelPlan plan;
  plan.flops = g.flops();
  plan.scratch_bytes =
      4 * (state->x_floats + state->dy_floats + state->sums_floats * query.threads);
  plan.run = [state](const KernelArgs& args) {
    const State& s = *state;
    const ConvGeometry& g = s.g;
    auto* x = reinterpret_cast<float*>(args.scratch);
    float *dy = x + s.x_floats, *all_sums = dy + s.dy_floats;
    into_lanes(args.in(1).as<const float>(), g.n, g.c * g.h * g.w, x);
    into_lanes(args.in(0).as<const float>(), g.n, g.out * g.oh * g.ow, dy);
    const std::int64_t outputs = s.code->outputs(), tiles = (g.out + outputs - 1) / outputs;
    const std::int64_t units = tiles * g.c, parts = std::min<std::int64_t>(units, s.threads);
    const std::int64_t taps = g.kh * g.kw;
    parallel_parts(parts, [&](std::int64_t part) {
      float* sums = all_sums + part * s.sums_floats;
      for (std::int64_t u = units * part / parts; u < units * (part + 1) / parts; ++u) {
        const std::int64_t first = u / g.c * outputs, c = u % g.c;
        const std::int64_t count = std::min(outputs, g.out - first);
        std::fill_n(sums, taps * count * kLanes, 0.0f);
        for (std::int64_t block = 0; block < blocks_of(g.n); ++block) {
          for (std::int64_t tap = 0; tap < g.kh; ++tap) {
            // Pixels are to a tap what taps are to a pixel.
            const std::int64_t offset = tap * g.dilation_h - g.top;
            const Taps rows(offset, g.stride_h, g.oh, g.h);
            if (rows.count == 0) continue;
            const LaneWeights weights{
                dy + ((block * g.out + first) * g.oh + rows.first) * g.ow * kLanes,
                x + ((block * g.c + c) * g.h + rows.first * g.stride_h + offset) * g.w * kLanes,
                sums + tap * g.kw * count * kLanes, rows.count};
            s.code->weights(count)(&weights);
          }
        }
        float* dw = args.out().as<float>() + first * g.patch() + c * taps;
        for (std::int64_t m = 0; m < count; ++m) {
          for (std::int64_t t = 0; t < taps; ++t)
            dw[m * g.patch() + t] = sum_of(sums + (t * count + m) * kLanes);
        }
      }
    });
  };
  return plan;
}

constexpr KernelRow kForward[] = {{"conv2d_lanes_avx512", kFeatures, refuses, prepare_forward}};
constexpr KernelRow kGradInput[] = {
    {"conv2d_grad_input_lanes_avx512", kFeatures, refuses_input, prepare_grad_input}};
constexpr KernelRow kGradWeight[] = {
    {"conv2d_grad_weight_lanes_avx512", kFeatures, refuses, prepare_grad_weight}};

}  // namespace

std::span<const KernelRow> conv2d_lane_rows() {
  return kForward;
}
std::span<const KernelRow> conv2d_grad_input_lane_rows() {
  return kGradInput;
}
std::span<const KernelRow> conv2d_grad_weight_lane_rows() {
  return kGradWeight;
}

}  // namespace tessera
