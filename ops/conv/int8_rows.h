// Rows of convolutions with codebook weights in integers (int8_conv.h).
#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_int8_rows();

}  // namespace tessera
