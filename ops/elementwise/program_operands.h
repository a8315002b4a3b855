// The operands and results of a program over a region of rows x cols.
#pragma once

#include <cstdint>

namespace tessera {

// How an operand lies over a region of rows x cols.
enum class OperandKind : std::uint8_t {
  full,    // element (r, c) at data[r * ld + c]
  row,     // one value per column, the same for every row: data[c]
  column,  // one value per row: data[r * ld]
  scalar,  // data[0]
};

struct ProgramInput {
  const float* data = nullptr;
  std::int64_t ld = 0;  // elements from one row to the next: full and column
};
struct ProgramOutput {
  float* data = nullptr;
  std::int64_t ld = 0;
};

}  // namespace tessera
