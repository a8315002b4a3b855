// Winograd F(4x4, 3x3) with a codebook weight. Transformed weights are four times the decoded ones:
// those of few channels are made once a step in the second-level cache; those of many channels
// block by block of input and output channels, and each block is multiplied with so many tiles that
// making it does not count. So neither lies in memory, and indices are all that is read.
#include "ops/conv/winograd_block_rows.h"

#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "ops/conv/block_weight.h"
#include "ops/conv/winograd_tiles.h"
#include "ops/matmul/gemm.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock, kPoints = kWinogradPoints, kTaps = 9;
constexpr std::int64_t kWholeBytes = 640 << 10;    // of transformed weights that are made at once
constexpr std::int64_t kDepth = 64, kVectors = 2;  // channels of a block, in and out (of 16)
constexpr std::int64_t kMostTiles = 112;           // that are multiplied with a block
// Of all images: for fewer, transforming the weights costs more than it saves, whatever the
// channels (4x4 pixels 0.6 times as fast as direct, 5x5 0.85, 7x7 1.12 to 1.25, 8x8 1.2 to 1.5).
constexpr std::int64_t kLeastPixels = 40;

WinogradTiles tiles_of(const ConvGeometry& g) {
  return {g.n, g.h, g.w, g.oh, g.ow, g.top, g.left};
}

// A weight that is decoded and transformed block by block.
struct Filters {
  ConvGeometry g;
  const WinogradKernels* kernels;
  WeightPanels panels;

  static constexpr std::int64_t kPanelFloats = kDepth * kTaps * kVectors * kLanes;
  std::int64_t thread_bytes() const {
    return 4 * kPanelFloats + static_cast<std::int64_t>(panels.thread_bytes());
  }
  // Of channels [c0, c0 + depth), at most kDepth, and blocks [v0, v0 + vectors), at most kVectors,
  // of output channels: point e of channel c0 + c at u[e * point + c * ld].
  void transform(const WeightPanels::Bound& weight, std::int64_t c0, std::int64_t depth,
                 std::int64_t v0, std::int64_t vectors, float* u, std::int64_t point,
                 std::int64_t ld, std::byte* scratch) const {
    auto* taps = reinterpret_cast<float*>(scratch);
    const std::int64_t known = std::clamp<std::int64_t>(g.c - c0, 0, depth);
    const std::int64_t width = vectors * kLanes;
    weight.fill(v0 * kLanes, std::min(width, g.out - v0 * kLanes), c0 * kTaps, known * kTaps, taps,
                width, kLanes, taps + kPanelFloats);
    std::fill(taps + known * kTaps * width, taps + depth * kTaps * width, 0.0f);
    for (std::int64_t c = 0; c < depth; ++c) {
      for (std::int64_t v = 0; v < vectors; ++v) {
        kernels->filter(taps + c * kTaps * width + v * kLanes, 1, width, u + c * ld + v * kLanes,
                        point);
      }
    }
  }
};

struct BlockWinograd {
  Filters filters;
  WinogradConvolution conv;  // of weights that are transformed at once
  bool whole;
  std::int64_t tiles, blocks;    // at once, and how often
  std::int64_t groups, threads;  // of output channels

  BlockWinograd(const ConvGeometry& g, const WeightPanels& panels, CpuFeatures features,
                int threads_)
      : filters{g, &tessera_winograd_avx512, panels},
        conv{tiles_of(g),
             &tessera_winograd_avx512,
             &gemm_kernels(features),
             ceil_div(g.c, kLanes),
             ceil_div(g.out, kLanes),
             0,
             threads_},
        threads(threads_) {
    conv.block = winograd_block(in() + out());
    whole = 4 * kPoints * in() * out() <= kWholeBytes;
    blocks = ceil_div(conv.tiles.count(), kMostTiles);
    tiles = ceil_div(conv.tiles.count(), blocks);
    groups = ceil_div(conv.out_blocks, kVectors);
    groups = std::min(conv.out_blocks, ceil_div(groups, threads) * threads);
  }
  const WeightPanels& panels() const { return filters.panels; }
  std::int64_t in() const { return conv.in_blocks * kLanes; }
  std::int64_t out() const { return conv.out_blocks * kLanes; }

  // Shared by the threads: tables, and all transformed weights or tiles.
  std::int64_t table_bytes() const {
    return static_cast<std::int64_t>(filters.panels.table_bytes());
  }
  std::int64_t shared_floats() const {
    return kPoints * winograd_stride(in() * (whole ? out() : tiles));
  }
  // A thread's: what it decodes, a block of weights and its products.
  std::int64_t u_floats() const {
    return whole ? 0 : kPoints * winograd_stride(kDepth * kVectors * kLanes);
  }
  std::int64_t m_floats() const {
    return whole ? 0 : kPoints * winograd_stride(tiles * kVectors * kLanes);
  }
  std::int64_t part_bytes() const {
    return up64(filters.thread_bytes()) + 4 * (u_floats() + m_floats());
  }
  std::int64_t scratch_bytes() const {
    return table_bytes() + 4 * shared_floats() + threads * part_bytes() +
           (whole ? threads * conv.part_bytes() : 0);
  }

  void run(const float* x, const CodebookView& view, const void* packed, float* y,
           std::byte* scratch) const {
    const WeightPanels::Bound weight = filters.panels.bind(view, packed, scratch);
    auto* shared = reinterpret_cast<float*>(scratch + table_bytes());
    std::byte* parts = scratch + table_bytes() + 4 * shared_floats();
    if (whole) {
      run_whole(x, weight, shared, y, parts);
    } else {
      run_blocks(x, weight, shared, y, parts);
    }
  }

  void run_whole(const float* x, const WeightPanels::Bound& weight, float* u, float* y,
                 std::byte* parts) const {
    const std::int64_t steps = ceil_div(in(), kDepth), items = groups * steps;
    const std::int64_t count = std::min(threads, items);
    parallel_parts(count, [&](std::int64_t part) {
      for (std::int64_t i = items * part / count; i < items * (part + 1) / count; ++i) {
        const std::int64_t v0 = conv.out_blocks * (i / steps) / groups;
        const std::int64_t v1 = conv.out_blocks * (i / steps + 1) / groups;
        const std::int64_t c0 = i % steps * kDepth;
        filters.transform(weight, c0, std::min(kDepth, in() - c0), v0, v1 - v0,
                          u + c0 * out() + v0 * kLanes, winograd_stride(in() * out()), out(),
                          parts + part * part_bytes());
      }
    });
    conv.run(x, u, y, parts + threads * part_bytes());
  }

  void run_blocks(const float* x, const WeightPanels::Bound& weight, float* v, float* y,
                  std::byte* parts) const {
    const std::int64_t total = conv.tiles.count();
    for (std::int64_t first = 0; first < total; first += tiles) {
      const std::int64_t n = std::min(tiles, total - first);
      parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end) {
        transform_input(conv.tiles, *conv.kernels, x, conv.in_blocks, first, begin, end, v,
                        winograd_stride(n * in()));
      });
      const std::int64_t count = std::min(threads, groups);
      parallel_parts(count, [&](std::int64_t part) {
        std::byte* own = parts + part * part_bytes();
        for (std::int64_t i = groups * part / count; i < groups * (part + 1) / count; ++i) {
          multiply(weight, conv.out_blocks * i / groups, conv.out_blocks * (i + 1) / groups, first,
                   n, v, y, own);
        }
      });
    }
  }

  // Blocks [v0, v1) of output channels of `n` tiles.
  void multiply(const WeightPanels::Bound& weight, std::int64_t v0, std::int64_t v1,
                std::int64_t first, std::int64_t n, const float* v, float* y,
                std::byte* own) const {
    auto* u = reinterpret_cast<float*>(own + up64(filters.thread_bytes()));
    float* m = u + u_floats();
    const std::int64_t width = (v1 - v0) * kLanes;
    const std::int64_t v_stride = winograd_stride(n * in()), m_stride = winograd_stride(n * width);
    for (std::int64_t c0 = 0; c0 < in(); c0 += kDepth) {
      const std::int64_t depth = std::min(kDepth, in() - c0);
      const std::int64_t u_stride = winograd_stride(depth * width);
      filters.transform(weight, c0, depth, v0, v1 - v0, u, u_stride, width, own);
      const WinogradProduct product{conv.gemm, n, depth, width, in(), 1, c0 > 0};
      for (std::int64_t e = 0; e < kPoints; ++e)
        product.run(v + e * v_stride + c0, u + e * u_stride, m + e * m_stride);
    }
    transform_output(conv.tiles, *conv.kernels, m, m_stride, conv.out_blocks, v0, v1, first, n, y);
  }
};

std::string refuses_geometry(const KernelQuery& query) {
  if (auto reason = refuses_block_images(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (g.kh != 3 || g.kw != 3 || g.stride_h != 1 || g.stride_w != 1 || g.dilation_h != 1 ||
      g.dilation_w != 1 || g.groups != 1 || g.top > 2 || g.left > 2 || g.bottom > 2 || g.right > 2)
    return "not 3x3 of stride 1";
  if (g.c < kLanes || g.out < kLanes) return "fewer than 16 channels";
  if (g.oh < kWinogradTile || g.ow < kWinogradTile) return "images are smaller than a tile";
  if (g.n * g.oh * g.ow < kLeastPixels) return "few pixels";
  return {};
}
std::string refuses_codebook(const KernelQuery& query) {
  if (!query.node.input(1).type().encoding.is_codebook()) return "the weight is dense";
  return refuses_geometry(query);
}
std::string refuses_dense(const KernelQuery& query) {
  if (auto reason = refuses_dense_weight(query); !reason.empty()) return reason;
  if (auto reason = refuses_geometry(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (4 * kPoints * g.c * g.out <= kWholeBytes) return "few channels";
  // Then the weights are better transformed once, although they are four times as many.
  if (tiles_of(g).count() > kMostTiles) return "many tiles";
  return {};
}

KernelPlan prepare(const KernelQuery& query) {
  BlockWinograd conv(conv_geometry(query.node),
                     panels_of(query.node.input(1), query.is_fixed(1), query.features),
                     query.features, query.threads);
  std::string decodes = conv.whole ? "decodes all rows at a time"
                                   : cat("decodes ", kVectors * kLanes, " rows at a time");
  return block_plan(query, std::move(conv), std::move(decodes));
}

constexpr KernelRow kRows[] = {
    {"conv2d_cb_winograd_avx512", kAvx2 | kAvx512, refuses_codebook, prepare},
    {"conv2d_winograd_blocks_avx512", kAvx2 | kAvx512, refuses_dense, prepare}};

}  // namespace

std::span<const KernelRow> conv2d_winograd_block_rows() {
  return kRows;
}

}  // namespace tessera

#else

namespace tessera {

std::span<const KernelRow> conv2d_winograd_block_rows() {
  return {};
}

}  // namespace tessera

#endif
