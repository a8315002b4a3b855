// Rows of convolutions with codebook weights in integers (int8_conv.h, int8_depthwise.h).
#pragma once

#include <span>
#include <string_view>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_int8_rows();
// OpDef::wants: layers in integers take images as bytes.
std::string_view conv2d_wants(const KernelQuery& query, int i);

}  // namespace tessera
