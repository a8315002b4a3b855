// The kernel rows of the LSTM scan and its gradient, best first.
#pragma once

#include <span>

#include "core/op_def.h"

namespace tessera {

std::span<const KernelRow> lstm_scan_rows();
std::span<const KernelRow> lstm_scan_grad_rows();

}  // namespace tessera
