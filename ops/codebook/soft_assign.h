// soft_assign: each vector of weights spread over the entries of a codebook, inside a graph. What
// differentiable k-means (DKM, Cho et al. 2022) and soft clustering penalties are made of.
#pragma once

#include "core/op_def.h"
#include "ops/build.h"

namespace tessera {

extern const OpDef kSoftAssign, kSoftAssignGrad;

namespace ops {

struct SoftAssignResult {
  Value mean;     // f32, w's shape: sum_k a[i][k] c_k
  Value mass;     // f32[k]: sum_i a[i][k]
  Value moment;   // f32, the entries' shape: sum_i a[i][k] w_i
  Value log_sum;  // f32[]: sum_i log sum_k e^(-|w_i - c_k|^2 / tau)
};

// a[i][k] = softmax over k of -|w_i - c_k|^2 / tau. w is f32 of any shape, read as vectors w_i of d
// consecutive values; entries c are f32[k] (d = 1) or f32[k, d], one codebook for all of w, k 1 to
// 256, d 1 to 16; tau > 0 is a scalar in units of w squared. The matrix a is never stored; what is
// under e^-75 of the largest a[i][k] counts as 0, so a mass may be 0. All outputs have gradients to
// w and entries, none to tau. Throws Error on other shapes, where d does not divide the rows of w
// (the product of its axes behind the first; the length of a vector), and at run time for tau that
// is not positive.
SoftAssignResult soft_assign(Value w, Value entries, const Arg& tau);

}  // namespace ops
}  // namespace tessera
