// matmul: the one matrix product. Linear layers, their gradients, and codebook weights all use it.
// batched_matmul: many small ones of two activations, as attention makes them.
#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kMatmul, kBatchedMatmul;

namespace ops {

// y[m,n] = sum_k a[m,k] b[k,n]; a flag reads that operand transposed. f32, rank 2; `b` may be
// codebook storage. Throws Error naming both shapes when they do not fit.
Value matmul(Value a, Value b, bool transpose_a = false, bool transpose_b = false);

// y[...,m,n] = sum_k a[...,m,k] b[...,k,n], both dense; a flag reads that operand with its last two
// axes swapped. f32, rank 2 and more; leading axes are equal or broadcast (numpy's rule). Throws
// Error naming both shapes when they do not fit.
Value batched_matmul(Value a, Value b, bool transpose_a = false, bool transpose_b = false);

// x[n,in] W[out,in]^T + bias[out]; `weight` may be codebook storage, `bias` may be none.
Value linear(Value x, Value weight, Value bias = {});

}  // namespace ops
}  // namespace tessera
