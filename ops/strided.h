// Loops over several operands of different strides, with as few dimensions as they allow.
#pragma once

#include <cstdint>
#include <vector>

namespace tessera {

struct StridedLoop {
  std::vector<std::int64_t> dims;
  // strides[operand][dim], in elements; 0 repeats.
  std::vector<std::vector<std::int64_t>> strides;
};

// Drops dimensions of size 1 and merges neighbours that every operand walks as one. At least one
// dimension is left.
StridedLoop collapse(const StridedLoop& loop);

}  // namespace tessera
