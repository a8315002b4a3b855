#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_winograd_block_rows();

}  // namespace tessera
