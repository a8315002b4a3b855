// The rows of direct convolutions that read a weight block by block (block_conv.h): of codebooks,
// and of dense ones where few pixels share a weight.
#include "ops/conv/block_rows.h"

#include <utility>

#include "ops/conv/block_conv.h"
#include "ops/conv/block_weight.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;
// Where there are so many weights for a pixel, reading them is the work: oneDNN's Winograd then
// transforms them in every step. Its direct convolution is slower only with many more, out of
// cache.
constexpr std::int64_t kWeightsOfPixel = 2048, kManyWeightsOfPixel = 65536;
constexpr std::int64_t kCacheBytes = 4 << 20;

std::string refuses_geometry(const KernelQuery& query) {
  if (auto reason = refuses_block_images(query); !reason.empty()) return reason;
  const ConvGeometry g = conv_geometry(query.node);
  if (g.groups != 1) return "groups";
  if (g.c < kLanes || g.out < kLanes) return "fewer than 16 channels";
  if (g.kh * g.kw > BlockConv::kMostTaps) return "many taps";
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
  const bool winograd = g.kh == 3 && g.kw == 3 && g.stride_h == 1 && g.stride_w == 1 &&
                        g.dilation_h == 1 && g.dilation_w == 1 && g.oh >= 4 && g.ow >= 4;
  const std::int64_t weights = g.out * g.patch();
  if (weights < (winograd ? kWeightsOfPixel : kManyWeightsOfPixel) * g.n * g.oh * g.ow)
    return "many pixels share a weight";
  if (!winograd && 4 * weights <= kCacheBytes) return "the weight stays in cache";
  return {};
}

KernelPlan prepare(const KernelQuery& query) {
  BlockConv conv(conv_geometry(query.node),
                 panels_of(query.node.input(1), query.is_fixed(1), query.features), query.threads);
  std::string decodes = cat("decodes ", conv.decoded_rows(), " rows at a time");
  return block_plan(query, std::move(conv), std::move(decodes));
}

constexpr KernelRow kRows[] = {
    {"conv2d_cb_blocks_avx512", kAvx2 | kAvx512, refuses_codebook, prepare},
    {"conv2d_blocks_avx512", kAvx2 | kAvx512, refuses_dense, prepare}};

}  // namespace

std::span<const KernelRow> conv2d_block_rows() {
  return kRows;
}

}  // namespace tessera

#else

namespace tessera {

std::span<const KernelRow> conv2d_block_rows() {
  return {};
}

}  // namespace tessera

#endif
