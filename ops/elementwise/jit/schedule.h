// Which register holds what, when: the lines of a tape in the order they are executed.
#pragma once

#include <vector>

#include "ops/elementwise/jit/tape.h"

namespace tessera::jit {

// A line computed, or a result stored.
struct Step {
  int line = 0;
  int output = -1;  // of a store
};

// The steps that run together: all lines of one level, and behind the elements' the stores.
struct Section {
  std::vector<Step> steps;
  // By line, of lines of this section: a vector or mask register. A result may take the place of
  // an operand that no later step reads; of the operands the last one first, as products like it.
  std::vector<int> reg;
  int vectors = 0, masks = 0;  // registers in use at once
};

// A result may share its buffer with an input: a store waits for the last load.
Section schedule(const Tape& tape, Level level);

}  // namespace tessera::jit
