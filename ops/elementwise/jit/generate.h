// AVX-512 code for a tape.
#pragma once

#include <memory>
#include <span>

#include "ops/elementwise/jit/kernel.h"
#include "ops/elementwise/jit/tape.h"

namespace tessera::jit {

// Null when more values live at once than there are registers, or the system refuses executable
// memory. Code pages are writable while they are filled and executable after, never both.
std::shared_ptr<const Kernel> generate(const Tape& tape, std::span<const OperandKind> kinds);

}  // namespace tessera::jit
