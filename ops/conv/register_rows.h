#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

// Convolutions of few pixels whose codebook weight is decoded in registers.
std::span<const KernelRow> conv2d_register_rows();

}  // namespace tessera
