#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_dnnl_rows();
std::span<const KernelRow> conv2d_grad_input_dnnl_rows();
std::span<const KernelRow> conv2d_grad_weight_dnnl_rows();

}  // namespace tessera
