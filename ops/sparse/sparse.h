// Sparse tensors in the graph: the correction beside a codebook, w = codebook + sparse. A second
// operand, not an encoding: `sparse` is a dense type made of two planes, and rules distribute the
// linear ops over the sum, so that neither operand is written out.
#pragma once

#include "core/op_def.h"

namespace tessera {

class Tensor;

extern const OpDef kSparse, kSparseValuesGrad, kSparseMatmul, kSparseConv2d;

// The operands of a weight codebook + sparse; both null for any other value.
struct CorrectedWeight {
  const Node* codebook = nullptr;
  const Node* sparse = nullptr;
  explicit operator bool() const { return sparse != nullptr; }
};
CorrectedWeight corrected_weight(const Node& node);

// OpDef::check_planes of `sparse`.
void check_sparse_planes(const Node& node, std::span<const Tensor* const> planes);

std::span<const KernelRow> sparse_rows();
std::span<const KernelRow> sparse_values_grad_rows();
std::span<const KernelRow> sparse_matmul_rows();
std::span<const KernelRow> sparse_conv2d_rows();

namespace ops {

// f32 `shape`, zero but for `values` f32[n] at the places that `positions` u8[bytes] encode
// (ops/sparse/positions.h). What the bytes say is checked where they are read.
Value sparse(Value positions, Value values, const Shape& shape);

}  // namespace ops
}  // namespace tessera
