// Leading singular vectors of a weight.
#pragma once

#include "core/tensor.h"

namespace tessera::quant {

// The k left singular vectors of `weight` (f32, as a matrix of its rows) with the largest singular
// values, orthonormal columns of [rows, k]; columns beyond the matrix's rank or its rows are zero.
// Eigenvectors of its Gram matrix, in f64.
Tensor leading_left_vectors(const Tensor& weight, int k);

}  // namespace tessera::quant
