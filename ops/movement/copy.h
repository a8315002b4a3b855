// Strided copies: what transposes, slices, concatenations and broadcasts come down to.
#pragma once

#include <cstdint>
#include <vector>

#include "core/op_def.h"
#include "ops/strided.h"

namespace tessera {

// loop.strides[0] walks the source, loop.strides[1] the destination; in elements.
struct StridedCopy {
  StridedLoop loop;
  std::int64_t element_bytes = 4;
  std::int64_t from_offset = 0, to_offset = 0;  // elements
  int input = 0;
};

// Runs the copies into output 0; its first `zero_bytes` are cleared before.
KernelPlan plan_copies(std::vector<StridedCopy> copies, std::int64_t zero_bytes = 0);

}  // namespace tessera
