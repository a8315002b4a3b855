// What the rows that read a weight block by block (ops/codebook/weight_panels.h) ask of a query.
#pragma once

#include <string>

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

}  // namespace tessera
