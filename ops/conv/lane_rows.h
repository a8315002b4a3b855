#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_lane_rows();
std::span<const KernelRow> conv2d_grad_input_lane_rows();
std::span<const KernelRow> conv2d_grad_weight_lane_rows();

}  // namespace tessera
