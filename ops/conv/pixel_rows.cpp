// Images of a few pixels: a 3x3 kernel on 2x2 pixels meets the border at every tap, and most of a
// convolution's products are with zeros. Between whole images it is one matrix product
// y[n, (o, pixel)] = x[n, (c, pixel)] B with B[(c, i), (o, j)] = w[o, c, tap(i, j)], in the order
// in which blocked images lie; for 2x2 pixels that is 4/9 of the multiplications, at the speed of
// GEMM.
#include "ops/conv/pixel_rows.h"

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "ops/conv/conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/layout/layout.h"
#include "ops/matmul/gemm.h"

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;
constexpr std::int64_t kMostPixels = 4, kMostTaps = 25;
constexpr std::int64_t kLeastBatch = 16;  // B costs about as much as a few rows of the product
constexpr std::int64_t kLeastChannels = 64;
constexpr CpuFeatures kFeatures = kAvx2 | kAvx512;

struct Pixels {
  ConvGeometry g;
  std::int64_t in_blocks, out_blocks, in_pixels, out_pixels;
  int tap[kMostPixels][kMostPixels];  // of input pixel i and output pixel j; -1: none

  explicit Pixels(const ConvGeometry& geometry)
      : g(geometry),
        in_blocks((g.c + kLanes - 1) / kLanes),
        out_blocks((g.out + kLanes - 1) / kLanes),
        in_pixels(g.h * g.w),
        out_pixels(g.oh * g.ow) {
    for (std::int64_t i = 0; i < in_pixels; ++i) {
      for (std::int64_t j = 0; j < out_pixels; ++j) {
        const std::int64_t p = i / g.w + g.top - j / g.ow * g.stride_h;
        const std::int64_t q = i % g.w + g.left - j % g.ow * g.stride_w;
        const bool inside = p >= 0 && p < g.kh && q >= 0 && q < g.kw;
        tap[i][j] = inside ? static_cast<int>(p * g.kw + q) : -1;
      }
    }
  }
  std::int64_t taps() const { return g.kh * g.kw; }
  std::int64_t k() const { return in_blocks * in_pixels * kLanes; }
  std::int64_t n() const { return out_blocks * out_pixels * kLanes; }
};

// All taps of input channel c and the output channels [o, o + 16): taps[q][lane], zeros outside.
void load_taps(const Pixels& p, const float* w, std::int64_t c, std::int64_t o,
               float (*taps)[kLanes]) {
  const std::int64_t count = p.taps();
  for (std::int64_t l = 0; l < kLanes; ++l) {
    const bool inside = c < p.g.c && o + l < p.g.out;
    const float* from = w + ((o + l) * p.g.c + c) * count;
    for (std::int64_t q = 0; q < count; ++q) taps[q][l] = inside ? from[q] : 0.0f;
  }
}

// B as panels of sixteen columns, all of one output pixel; each panel is [k, 16].
void fill_panels(const Pixels& p, const float* w, float* panels) {
  parallel_for(p.out_blocks * p.in_blocks, 4, [&](std::int64_t begin, std::int64_t end) {
    float taps[kMostTaps][kLanes];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t ob = item / p.in_blocks, cb = item % p.in_blocks;
      for (std::int64_t l = 0; l < kLanes; ++l) {
        load_taps(p, w, cb * kLanes + l, ob * kLanes, taps);
        for (std::int64_t j = 0; j < p.out_pixels; ++j) {
          float* panel = panels + (ob * p.out_pixels + j) * p.k() * kLanes;
          for (std::int64_t i = 0; i < p.in_pixels; ++i) {
            float* to = panel + ((cb * p.in_pixels + i) * kLanes + l) * kLanes;
            const int q = p.tap[i][j];
            if (q < 0) {
              std::fill_n(to, kLanes, 0.0f);
            } else {
              std::copy_n(taps[q], kLanes, to);
            }
          }
        }
      }
    }
  });
}

// The same of B transposed: panels of sixteen input channels, [n, 16].
void fill_transposed_panels(const Pixels& p, const float* w, float* panels) {
  const std::int64_t count = p.taps();
  parallel_for(p.out_blocks * p.in_blocks, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t cb = item / p.out_blocks, ob = item % p.out_blocks;
      const std::int64_t lanes = std::min(kLanes, p.g.c - cb * kLanes);
      for (std::int64_t l = 0; l < kLanes; ++l) {
        const std::int64_t o = ob * kLanes + l;
        const float* from = w + (o * p.g.c + cb * kLanes) * count;
        for (std::int64_t i = 0; i < p.in_pixels; ++i) {
          float* panel = panels + (cb * p.in_pixels + i) * p.n() * kLanes;
          for (std::int64_t j = 0; j < p.out_pixels; ++j) {
            float* to = panel + ((ob * p.out_pixels + j) * kLanes + l) * kLanes;
            const int q = p.tap[i][j];
            std::fill_n(to, kLanes, 0.0f);
            if (q < 0 || o >= p.g.out) continue;
            for (std::int64_t c = 0; c < lanes; ++c) to[c] = from[c * count + q];
          }
        }
      }
    }
  });
}

std::string refuses(const KernelQuery& query) {
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (g.h * g.w > kMostPixels || g.oh * g.ow > kMostPixels) return "images are not tiny";
  if (g.groups != 1 || g.dilation_h != 1 || g.dilation_w != 1) return "groups or dilation";
  if (g.kh * g.kw > kMostTaps || 2 * g.h * g.w > g.kh * g.kw) return "few taps miss the image";
  if (g.n < kLeastBatch || g.c < kLeastChannels || g.out < kLeastChannels)
    return "few images or channels";
  return {};
}

struct Product {
  GemmPlan plan;
  std::int64_t a_columns;
  void run(const float* a, const float* panels, float* c, std::byte* scratch) const {
    GemmArgs args;
    args.a = a;
    args.a_rs = a_columns;
    args.b = panels;
    args.c = c;
    args.ldc = plan.problem.n;
    run_gemm(plan, args, scratch);
  }
};
Product product(std::int64_t m, std::int64_t n, std::int64_t k, int threads) {
  return {prepare_gemm({.m = m, .n = n, .k = k, .b = GemmB::kPanels}, kFeatures, threads), k};
}

KernelPlan prepare_forward(const KernelQuery& query) {
  const Pixels p(conv_geometry(query.node));
  struct State {
    Product product;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  auto state = std::make_shared<State>(State{product(p.g.n, p.n(), p.k(), query.threads), nullptr});
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()),
                OperandPack{Encoding::packed("pixel_panels", p.k() * p.n() * 4, {}),
                            [p](const KernelArgs& args) {
                              fill_panels(p, args.in(0).as<const float>(), args.out().as<float>());
                            }}};
  plan.scratch_bytes = static_cast<std::int64_t>(state->product.plan.scratch_bytes);
  plan.flops = p.g.flops();
  state->epilogue = std::make_unique<ImageEpilogue>(query.node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    state->product.run(args.in(0).as<const float>(), args.in(1).as<const float>(),
                       args.out().as<float>(), args.scratch);
    state->epilogue->run(args);
  };
  return plan;
}

KernelPlan prepare_grad_input(const KernelQuery& query) {
  const Pixels p(conv_geometry(query.node));
  const Product gemm = product(p.g.n, p.k(), p.n(), query.threads);
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()),
                OperandPack{Encoding::packed("pixel_panels_grad", p.k() * p.n() * 4, {}),
                            [p](const KernelArgs& args) {
                              fill_transposed_panels(p, args.in(0).as<const float>(),
                                                     args.out().as<float>());
                            }}};
  plan.layout = kBlocked;
  plan.scratch_bytes = static_cast<std::int64_t>(gemm.plan.scratch_bytes);
  plan.flops = p.g.flops();
  plan.run = [gemm](const KernelArgs& args) {
    gemm.run(args.in(0).as<const float>(), args.in(1).as<const float>(), args.out().as<float>(),
             args.scratch);
  };
  return plan;
}

// Block by block of input channels: their rows of dB = x^T dy, summed into the taps while hot.
KernelPlan prepare_grad_weight(const KernelQuery& query) {
  const Pixels p(conv_geometry(query.node));
  const std::int64_t rows = p.in_pixels * kLanes, images = p.g.n;
  const GemmPlan gemm =
      prepare_gemm({.m = rows, .n = p.n(), .k = images, .b = GemmB::kPanels}, kFeatures, 1);
  const auto panel = static_cast<std::int64_t>((panel_bytes(p.n(), images) + 63) / 64 * 64);
  const auto scratch = static_cast<std::int64_t>((gemm.scratch_bytes + 63) / 64 * 64);
  const std::int64_t part = scratch + rows * p.n() * 4, threads = query.threads;
  KernelPlan plan;
  plan.packs = {as_blocked(query.node.input(0).type()), as_blocked(query.node.input(1).type())};
  plan.scratch_bytes = panel + part * threads;
  plan.flops = p.g.flops();
  plan.run = [=](const KernelArgs& args) {
    auto* panels = reinterpret_cast<float*>(args.scratch);
    pack_panels(kFeatures, GemmB::kRows, p.n(), images, args.in(0).as<const float>(), p.n(),
                panels);
    const std::int64_t parts = std::min(threads, p.in_blocks);
    parallel_parts(parts, [&](std::int64_t t) {
      std::byte* own = args.scratch + panel + t * part;
      auto* product = reinterpret_cast<float*>(own + scratch);
      for (std::int64_t cb = p.in_blocks * t / parts; cb < p.in_blocks * (t + 1) / parts; ++cb) {
        GemmArgs call;
        call.a = args.in(1).as<const float>() + cb * rows;
        call.a_rs = 1;
        call.a_cs = p.k();
        call.b = panels;
        call.c = product;
        call.ldc = p.n();
        run_gemm(gemm, call, own);
        const std::int64_t lanes = std::min(kLanes, p.g.c - cb * kLanes);
        for (std::int64_t ob = 0; ob < p.out_blocks; ++ob) {
          const std::int64_t outs = std::min(kLanes, p.g.out - ob * kLanes);
          for (std::int64_t c = 0; c < lanes; ++c) {
            float taps[kMostTaps][kLanes] = {};
            for (std::int64_t i = 0; i < p.in_pixels; ++i) {
              const float* line = product + (i * kLanes + c) * p.n() + ob * p.out_pixels * kLanes;
              for (std::int64_t j = 0; j < p.out_pixels; ++j) {
                if (p.tap[i][j] < 0) continue;
                for (std::int64_t l = 0; l < kLanes; ++l)
                  taps[p.tap[i][j]][l] += line[j * kLanes + l];
              }
            }
            for (std::int64_t o = 0; o < outs; ++o) {
              float* dw =
                  args.out().as<float>() + ((ob * kLanes + o) * p.g.c + cb * kLanes + c) * p.taps();
              for (std::int64_t q = 0; q < p.taps(); ++q) dw[q] = taps[q][o];
            }
          }
        }
      }
    });
  };
  return plan;
}

constexpr KernelRow kForward[] = {
    {"conv2d_pixels_avx512", kFeatures, refuses_image_conv<refuses>, prepare_forward}};
constexpr KernelRow kGradInput[] = {
    {"conv2d_grad_input_pixels_avx512", kFeatures, refuses, prepare_grad_input}};
constexpr KernelRow kGradWeight[] = {
    {"conv2d_grad_weight_pixels_avx512", kFeatures, refuses, prepare_grad_weight}};

}  // namespace

std::span<const KernelRow> conv2d_pixel_rows() {
  return kForward;
}
std::span<const KernelRow> conv2d_grad_input_pixel_rows() {
  return kGradInput;
}
std::span<const KernelRow> conv2d_grad_weight_pixel_rows() {
  return kGradWeight;
}

}  // namespace tessera
