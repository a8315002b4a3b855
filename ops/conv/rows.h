// Kernel rows of the convolution ops, best first.
#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_rows();
// Those of them for dense weights, and for codebooks that no other row takes.
std::span<const KernelRow> conv2d_dense_rows();
std::span<const KernelRow> conv2d_grad_input_rows();
std::span<const KernelRow> conv2d_grad_weight_rows();

}  // namespace tessera
