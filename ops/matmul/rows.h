// The kernel rows of matmul, best first.
#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> matmul_rows();

}  // namespace tessera
