// What the rows that read a weight block by block (ops/codebook/weight_panels.h) ask of a query,
// and the plan of one.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "ops/codebook/node_view.h"
#include "ops/codebook/weight_panels.h"
#include "ops/conv/conv.h"
#include "ops/conv/image_epilogue.h"
#include "ops/layout/layout.h"

namespace tessera {

// "" or why images, or the weight, lie otherwise than these rows take them.
inline std::string refuses_block_images(const KernelQuery& query) {
  const Node& node = query.node;
  if (!node.input(1).type().encoding.packed_layout().empty()) return "the weight is packed";
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    if (i == 1 || !node.inputs()[i]) continue;
    const TensorType& type = node.inputs()[i].type();
    if (!type.encoding.is_dense() && !is_blocked(type)) return "an operand is in another layout";
  }
  return ImageEpilogue::refuses(node);
}

// "" or why a weight is not a dense one that may be repacked.
inline std::string refuses_dense_weight(const KernelQuery& query) {
  if (!query.node.input(1).type().encoding.is_dense()) return "the weight is not dense";
  if (!query.is_fixed(1)) return "the weight changes between steps";
  if (query.bf16) return "computes in f32";
  return {};
}

// A convolution of such a weight on blocked images: `Conv` has panels(), scratch_bytes() and
// run(x, view, packed, y, scratch), as BlockConv. `decodes`: what it says of a codebook.
template <class Conv>
KernelPlan block_plan(const KernelQuery& query, Conv conv, std::string decodes) {
  struct State {
    Conv conv;
    CodebookView view;
    std::unique_ptr<ImageEpilogue> epilogue;
  };
  const Value x = query.node.input(0), weight = query.node.input(1);
  const bool dense = weight.type().encoding.is_dense();
  auto state = std::make_shared<State>(
      State{std::move(conv), dense ? CodebookView{} : view_of(weight.type()), nullptr});
  KernelPlan plan;
  plan.packs = {as_blocked(x.type()), pack_weight(weight, state->conv.panels())};
  plan.scratch_bytes = state->conv.scratch_bytes();
  plan.flops = conv_geometry(query.node).flops();
  if (!dense) plan.note = std::move(decodes);
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

}  // namespace tessera
