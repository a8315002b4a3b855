#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

// Empty where the machine's instruction set has none.
std::span<const KernelRow> conv2d_winograd_rows();
std::span<const KernelRow> conv2d_grad_input_winograd_rows();
std::span<const KernelRow> conv2d_grad_weight_winograd_rows();

}  // namespace tessera
