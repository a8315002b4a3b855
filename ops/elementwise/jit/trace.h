// From programs to tapes.
#pragma once

#include <optional>
#include <span>

#include "core/program.h"
#include "ops/elementwise/jit/tape.h"

namespace tessera::jit {

// What the vector functions do for `program`, whose input i changes at levels[i]. Empty when an op
// has no vector function (pow, sin, cos, a user's).
std::optional<Tape> trace(const Program& program, std::span<const Level> levels);

}  // namespace tessera::jit
