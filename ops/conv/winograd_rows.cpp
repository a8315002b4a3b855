// Winograd F(4x4, 3x3) on blocked images, for layers of few channels: a tile of 4 x 4 pixels takes
// 36 products per pair of channels instead of 144. WinogradTiles are transformed block by block, so
// that what the products read and write stays in the second-level cache; the products are those of
// ops/matmul/gemm_kernels.h. With many channels the transformed weights leave the cache, and
// oneDNN's scheduling is better.
#include "ops/conv/winograd_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/conv/winograd_kernels.h"
#include "ops/conv/winograd_tiles.h"
#include "ops/layout/layout.h"
#include "ops/matmul/gemm.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kMostChannels = 64;
constexpr std::int64_t kChunks = 8;  // of tiles whose weight gradients are summed apart
constexpr std::int64_t kPixel = kLayoutBlock;
constexpr std::int64_t kPoints = kWinogradPoints;

constexpr std::int64_t up(std::int64_t n, std::int64_t to) {
  return (n + to - 1) / to * to;
}

// ---- y = conv(x, w), and dx = conv(dy, w turned over and transposed) ----

// The transformed weights as WinogradConvolution reads them, channels padded to blocks. The
// gradient's convolution goes from y's channels to x's with the taps turned over.
void transform_weight(const ConvGeometry& g, const WinogradKernels& kernels, bool gradient,
                      const float* w, float* u) {
  const std::int64_t in = up(gradient ? g.out : g.c, kPixel);
  const std::int64_t out = up(gradient ? g.c : g.out, kPixel), blocks = out / kPixel;
  parallel_for(in * blocks, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t c = i / blocks, o = i % blocks * kPixel;
      // Strides of a filter over the lanes (output channels) and the input channel.
      const std::int64_t lane = gradient ? 9 : g.c * 9, other = gradient ? g.c * 9 : 9;
      const std::int64_t lanes = std::min(kPixel, (gradient ? g.c : g.out) - o);
      float padded[9 * kPixel] = {};
      if (c < (gradient ? g.out : g.c)) {
        for (std::int64_t l = 0; l < lanes; ++l) {
          const float* from = w + (o + l) * lane + c * other;
          for (std::int64_t q = 0; q < 9; ++q) padded[l * 9 + q] = from[gradient ? 8 - q : q];
        }
      }
      kernels.filter(padded, 9, 1, u + c * out + o, winograd_stride(in * out));
    }
  });
}

std::int64_t transformed_bytes(const ConvGeometry& g) {
  return kPoints * winograd_stride(up(g.c, kPixel) * up(g.out, kPixel)) * 4;
}

OperandPack pack_weight(const ConvGeometry& g, const WinogradKernels& kernels, bool gradient) {
  return {Encoding::packed(gradient ? "winograd43_grad" : "winograd43", transformed_bytes(g), {}),
          [g, gradient, &kernels](const KernelArgs& args) {
            transform_weight(g, kernels, gradient, args.in(0).as<const float>(),
                             args.out().as<float>());
          }};
}

std::string refuses_geometry(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  if (g.kh != 3 || g.kw != 3 || g.stride_h != 1 || g.stride_w != 1 || g.dilation_h != 1 ||
      g.dilation_w != 1 || g.groups != 1 || g.top > 2 || g.left > 2 || g.bottom > 2 || g.right > 2)
    return "not 3x3 of stride 1";
  if (g.c < kPixel || g.out < kPixel || g.c > kMostChannels || g.out > kMostChannels)
    return cat("channels are not between 16 and ", kMostChannels);
  if (g.oh < kWinogradTile || g.ow < kWinogradTile) return "images are smaller than a tile";
  return {};
}
std::string refuses(const KernelQuery& query) {
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  return refuses_geometry(query);
}

WinogradConvolution convolution(const KernelQuery& query, const ConvGeometry& g, bool gradient) {
  const std::int64_t in = up(gradient ? g.out : g.c, kPixel);
  const std::int64_t out = up(gradient ? g.c : g.out, kPixel);
  const WinogradTiles tiles = gradient
                                  ? WinogradTiles(g.n, g.oh, g.ow, g.h, g.w, 2 - g.top, 2 - g.left)
                                  : WinogradTiles(g.n, g.h, g.w, g.oh, g.ow, g.top, g.left);
  return {tiles,
          &tessera_winograd_avx512,
          &gemm_kernels(query.features),
          in / kPixel,
          out / kPixel,
          winograd_block(in + out),
          query.threads};
}

KernelPlan prepare_forward(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  struct State {
    WinogradConvolution conv;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  auto state = std::make_shared<State>(State{convolution(query, g, false), nullptr});
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()),
                pack_weight(g, *state->conv.kernels, false)};
  plan.scratch_bytes = state->conv.part_bytes() * query.threads;
  plan.flops = g.flops();
  state->epilogue = std::make_unique<ImageEpilogue>(query.node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    state->conv.run(args.in(0).as<const float>(), args.in(1).as<const float>(),
                    args.out().as<float>(), args.scratch);
    state->epilogue->run(args);
  };
  return plan;
}

KernelPlan prepare_grad_input(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  auto conv = std::make_shared<const WinogradConvolution>(convolution(query, g, true));
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), pack_weight(g, *conv->kernels, true)};
  plan.layout = kBlocked;
  plan.scratch_bytes = conv->part_bytes() * query.threads;
  plan.flops = g.flops();
  plan.run = [conv](const KernelArgs& args) {
    conv->run(args.in(0).as<const float>(), args.in(1).as<const float>(), args.out().as<float>(),
              args.scratch);
  };
  return plan;
}

// dw = G^T [sum over tiles of (A dy A^T) x (B^T d B)] G.
struct WeightGradient {
  ConvGeometry g;
  WinogradTiles tiles;
  const WinogradKernels* kernels;
  const GemmKernels* gemm;
  std::int64_t in_blocks, out_blocks, block, chunks, threads;

  std::int64_t in() const { return in_blocks * kPixel; }
  std::int64_t out() const { return out_blocks * kPixel; }
  std::int64_t part_bytes() const { return kPoints * block * (in() + out()) * 4; }
  std::int64_t sum_floats() const { return kPoints * in() * out(); }
  std::int64_t scratch_bytes() const { return part_bytes() * threads + sum_floats() * chunks * 4; }

  void run(const float* dy, const float* x, float* dw, std::byte* scratch) const {
    auto* sums = reinterpret_cast<float*>(scratch + part_bytes() * threads);
    const std::int64_t count = tiles.count(), parts = std::min(threads, chunks);
    parallel_parts(parts, [&](std::int64_t part) {
      auto* v = reinterpret_cast<float*>(scratch + part * part_bytes());
      float* m = v + kPoints * block * in();
      for (std::int64_t c = chunks * part / parts; c < chunks * (part + 1) / parts; ++c) {
        const std::int64_t end = count * (c + 1) / chunks;
        bool accumulate = false;
        for (std::int64_t first = count * c / chunks; first < end; first += block) {
          const std::int64_t n = std::min(block, end - first);
          transform_input(tiles, *kernels, x, in_blocks, first, 0, n, v, n * in());
          transform_gradient(dy, first, n, m);
          const WinogradProduct product{gemm, in(), n, out(), 1, in(), accumulate};
          for (std::int64_t e = 0; e < kPoints; ++e) {
            product.run(v + e * n * in(), m + e * n * out(),
                        sums + c * sum_floats() + e * in() * out());
          }
          accumulate = true;
        }
      }
    });
    parallel_for(in() * out_blocks, 16, [&](std::int64_t begin, std::int64_t end) {
      alignas(64) float total[kPoints * kPixel];
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t c = i / out_blocks, o = i % out_blocks * kPixel;
        if (c >= g.c) continue;
        for (std::int64_t e = 0; e < kPoints; ++e) {
          float* to = total + e * kPixel;
          const float* from = sums + (e * in() + c) * out() + o;
          for (std::int64_t l = 0; l < kPixel; ++l) to[l] = from[l];
          for (std::int64_t k = 1; k < chunks; ++k) {
            for (std::int64_t l = 0; l < kPixel; ++l) to[l] += from[k * sum_floats() + l];
          }
        }
        kernels->filter_transposed(total, kPixel, dw + (o * g.c + c) * 9, g.c * 9,
                                   std::min(kPixel, g.out - o));
      }
    });
  }

  void transform_gradient(const float* dy, std::int64_t first, std::int64_t n, float* m) const {
    alignas(64) float padded[kWinogradTile * kWinogradTile * kPixel];
    for (std::int64_t t = 0; t < n; ++t) {
      const std::int64_t tile = first + t, image = tile / (tiles.down * tiles.across);
      const std::int64_t row = tile / tiles.across % tiles.down * kWinogradTile;
      const std::int64_t col = tile % tiles.across * kWinogradTile;
      const std::int64_t height = std::min(kWinogradTile, tiles.oh - row);
      const std::int64_t width = std::min(kWinogradTile, tiles.ow - col);
      for (std::int64_t b = 0; b < out_blocks; ++b) {
        const float* from =
            dy + (((image * out_blocks + b) * tiles.oh + row) * tiles.ow + col) * kPixel;
        float* to = m + t * out() + b * kPixel;
        if (height == kWinogradTile && width == kWinogradTile) {
          kernels->output_transposed(from, tiles.ow * kPixel, to, n * out());
          continue;
        }
        std::fill(std::begin(padded), std::end(padded), 0.0f);
        for (std::int64_t i = 0; i < height; ++i) {
          std::memcpy(padded + i * kWinogradTile * kPixel, from + i * tiles.ow * kPixel,
                      static_cast<std::size_t>(width * kPixel) * sizeof(float));
        }
        kernels->output_transposed(padded, kWinogradTile * kPixel, to, n * out());
      }
    }
  }
};

KernelPlan prepare_grad_weight(const KernelQuery& query) {
  const ConvGeometry g = conv_geometry(query.node);
  const WinogradTiles tiles(g.n, g.h, g.w, g.oh, g.ow, g.top, g.left);
  const std::int64_t in = up(g.c, kPixel), out = up(g.out, kPixel);
  auto kernel = std::make_shared<const WeightGradient>(WeightGradient{
      g, tiles, &tessera_winograd_avx512, &gemm_kernels(query.features), in / kPixel, out / kPixel,
      winograd_block(in + out), std::min(kChunks, tiles.count()), query.threads});
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), as_blocked(query.node.input(1).type())};
  plan.scratch_bytes = kernel->scratch_bytes();
  plan.flops = g.flops();
  plan.run = [kernel](const KernelArgs& args) {
    kernel->run(args.in(0).as<const float>(), args.in(1).as<const float>(), args.out().as<float>(),
                args.scratch);
  };
  return plan;
}

constexpr KernelRow kForward[] = {
    {"conv2d_winograd_avx512", kAvx2 | kAvx512, refuses_image_conv<refuses>, prepare_forward}};
constexpr KernelRow kGradInput[] = {
    {"conv2d_grad_input_winograd_avx512", kAvx2 | kAvx512, refuses, prepare_grad_input}};
constexpr KernelRow kGradWeight[] = {
    {"conv2d_grad_weight_winograd_avx512", kAvx2 | kAvx512, refuses, prepare_grad_weight}};

}  // namespace

std::span<const KernelRow> conv2d_winograd_rows() {
  return kForward;
}
std::span<const KernelRow> conv2d_grad_input_winograd_rows() {
  return kGradInput;
}
std::span<const KernelRow> conv2d_grad_weight_winograd_rows() {
  return kGradWeight;
}

}  // namespace tessera

#else

namespace tessera {

std::span<const KernelRow> conv2d_winograd_rows() {
  return {};
}
std::span<const KernelRow> conv2d_grad_input_winograd_rows() {
  return {};
}
std::span<const KernelRow> conv2d_grad_weight_winograd_rows() {
  return {};
}

}  // namespace tessera

#endif
