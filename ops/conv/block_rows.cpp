// The row of direct convolutions with a codebook weight (block_conv.h).
#include "ops/conv/block_rows.h"

#include <memory>

#include "ops/codebook/node_view.h"
#include "ops/conv/block_conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/layout/layout.h"

#if defined(__x86_64__)

namespace tessera {

namespace {

constexpr std::int64_t kLanes = kLayoutBlock;

std::string refuses(const KernelQuery& query) {
  const Node& node = query.node;
  const TensorType& weight = node.input(1).type();
  if (weight.encoding.codebook_format() == nullptr) return "the weight is dense";
  if (!weight.encoding.packed_layout().empty()) return "the weight is packed";
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    if (i == 1 || !node.inputs()[i]) continue;
    const TensorType& type = node.inputs()[i].type();
    if (!type.encoding.is_dense() && !is_blocked(type)) return "an operand is in another layout";
  }
  const ConvGeometry g = conv_geometry(node);
  if (g.groups != 1) return "groups";
  if (g.c < kLanes || g.out < kLanes) return "fewer than 16 channels";
  if (g.kh * g.kw > BlockConv::kMostTaps) return "many taps";
  return ImageEpilogue::refuses(node);
}

KernelPlan prepare(const KernelQuery& query) {
  struct State {
    BlockConv conv;
    CodebookView view;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  const ConvGeometry g = conv_geometry(query.node);
  const Value x = query.node.input(0);
  const CodebookView view = view_of(query.node.input(1));
  auto state = std::make_shared<State>(
      State{BlockConv(g, WeightPanels(view, query.is_fixed(1), query.features), query.threads),
            view, nullptr});
  KernelPlan plan;
  plan.packs = {is_blocked(x.type()) ? std::nullopt : std::optional(to_blocked(x.type())),
                pack_panels(query.node.input(1), state->conv.panels())};
  plan.scratch_bytes = state->conv.scratch_bytes();
  plan.flops = g.flops();
  plan.note = cat("decodes ", state->conv.decoded_rows(), " rows at a time");
  state->epilogue = std::make_unique<ImageEpilogue>(query.node, query.features, plan);
  plan.run = [state](const KernelArgs& args) {
    const bool packed = state->conv.panels().packed();
    state->conv.run(args.in(0).as<const float>(),
                    packed ? state->view : bind_view(state->view, args.in(1)),
                    packed ? args.in(1).plane[0] : nullptr, args.out().as<float>(), args.scratch);
    state->epilogue->run(args);
  };
  return plan;
}

constexpr KernelRow kRows[] = {{"conv2d_cb_blocks_avx512", kAvx2 | kAvx512, refuses, prepare}};

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
