// Convolution with a codebook weight by the rows for dense ones: the weight is decoded in every
// step into scratch, once for all pixels and images, and forgotten.
#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> conv2d_decoded_rows();

}  // namespace tessera
