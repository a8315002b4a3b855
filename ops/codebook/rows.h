// The kernel rows of the codebook family, best first.
#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> decode_rows();
std::span<const KernelRow> codebook_entries_grad_rows();
std::span<const KernelRow> codebook_scale_grad_rows();

}  // namespace tessera
