// The instructions of a program as they are run.
#pragma once

#include <optional>
#include <vector>

#include "core/program.h"
#include "ops/elementwise/kernels.h"

namespace tessera {

// An op of the program, or a product joined with the sum or difference that alone reads it.
struct ProgramLine {
  const OpDef* op = nullptr;
  std::optional<ProductOp> product;
  std::vector<Operand> args;
  bool dropped = false;  // a product that another line took over
};

// One line for each instruction, in order.
std::vector<ProgramLine> lines_of(const Program& program);

}  // namespace tessera
