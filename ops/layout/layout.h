// The layout in which images travel between kernels: channels in blocks of sixteen, [n, ceil(c/16),
// h, w, 16], named nChw16c as in oneDNN. The row of an op chooses it (KernelPlan::layout), and
// selection places reorders where two rows disagree. Lanes past the last channel hold zeros,
// always: who writes the layout writes them, so that sums over a block need no mask.
#pragma once

#include <string>

#include "core/op_def.h"

namespace tessera {

inline constexpr std::int64_t kLayoutBlock = 16;
inline constexpr const char* kBlocked = "nChw16c";

// The attribute of ops whose outputs may be kept in a layout; set by selection only.
inline AttrDef layout_attr() {
  return {"layout", AttrKind::string, std::string()};
}

inline std::int64_t channel_blocks(const Shape& image) {
  return (image[1].value() + kLayoutBlock - 1) / kLayoutBlock;
}
// Floats of a blocked image of bound shape [n, c, h, w], padding included.
std::int64_t blocked_numel(const Shape& image);
Encoding blocked_encoding(const Shape& image);

inline bool is_blocked(const TensorType& type) {
  return type.encoding.packed_layout() == kBlocked;
}
// "" or why an operand other than dense or blocked cannot be read.
std::string refuses_other_layouts(const KernelQuery& query);

// A result of this shape in the layout that the attribute `layout` names; only f32 images have one.
TensorType in_layout(const InferArgs& args, const Shape& shape, DType dtype = DType::f32);
// The same type blocked; its repack from dense.
OperandPack to_blocked(const TensorType& dense);
// The repack of an operand that is read blocked; none where it is.
std::optional<OperandPack> as_blocked(const TensorType& image);

// Plain copies between the two; `threads` at most num_threads().
void block_image(const float* dense, std::int64_t n, std::int64_t c, std::int64_t pixels,
                 float* blocked);
void unblock_image(const float* blocked, std::int64_t n, std::int64_t c, std::int64_t pixels,
                   float* dense);

// Row of `decode`: blocked -> dense.
std::string refuses_unblock(const KernelQuery& query);
KernelPlan prepare_unblock(const KernelQuery& query);
inline constexpr KernelRow kUnblockRow = {"unblock", kScalar, refuses_unblock, prepare_unblock};

}  // namespace tessera
