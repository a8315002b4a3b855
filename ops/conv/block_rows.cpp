// The rows of direct convolutions that read a weight block by block (block_conv.h): of codebooks,
// and of dense ones where few pixels share a weight.
#include "ops/conv/block_rows.h"

#include <memory>

#include "ops/codebook/node_view.h"
#include "ops/conv/block_conv.h"
#include "ops/conv/block_weight.h"
#include "ops/conv/image_epilogue.h"
#include "ops/layout/layout.h"

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
  if (query.node.input(1).type().encoding.codebook_format() == nullptr)
    return "the weight is dense";
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
  struct State {
    BlockConv conv;
    CodebookView view;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const Value x = query.node.input(0);
  const Value weight = query.node.input(1);
  const bool dense = weight.type().encoding.is_dense();
  auto state = std::make_shared<State>(
      State{BlockConv(g, panels_of(weight, query.is_fixed(1), query.features), query.threads),
            dense ? CodebookView{} : view_of(weight), nullptr});
  KernelPlan plan;
  plan.packs = {is_blocked(x.type()) ? std::nullopt : std::optional(to_blocked(x.type())),
                pack_weight(weight, state->conv.panels())};
  plan.scratch_bytes = state->conv.scratch_bytes();
  plan.flops = g.flops();
  if (!dense) plan.note = cat("decodes ", state->conv.decoded_rows(), " rows at a time");
  state->epilogue = std::make_unique<ImageEpilogue>(query.node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    const bool packed = state->conv.panels().packed();
    state->conv.run(args.in(0).as<const float>(),
                    packed ? state->view : bind_view(state->view, args.in(1)), args.in(1).plane[0],
                    args.out().as<float>(), args.scratch);
    state->epilogue->run(args);
  };
  return plan;
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
