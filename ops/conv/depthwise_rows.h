#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_depthwise_rows();
std::span<const KernelRow> conv2d_grad_input_depthwise_rows();
std::span<const KernelRow> conv2d_grad_weight_depthwise_rows();

}  // namespace tessera
