#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_pixel_rows();
std::span<const KernelRow> conv2d_grad_input_pixel_rows();
std::span<const KernelRow> conv2d_grad_weight_pixel_rows();

}  // namespace tessera
