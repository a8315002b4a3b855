// Copies of blocked images (ops/layout/layout.h).
#pragma once

#include <string>
#include <vector>

#include "ops/movement/copy.h"

namespace tessera {

// Between an image `small` and its places begin, begin + step, ... along `axis` of `large`.
std::vector<StridedCopy> blocked_copies(const Shape& small, const Shape& large, int axis,
                                        std::int64_t begin, std::int64_t step, bool to_large);

// Copies with a blocked output; `clear` zeroes it first.
KernelPlan plan_blocked(const Shape& out, std::vector<StridedCopy> copies, bool clear);
// Why a row for blocked operands does not serve: a blocked operand stays so, and in a concatenation
// the others follow.
std::string refuses_unblocked(const KernelQuery& query);
// Whether the channels leave part of their last block empty.
bool has_tail(const Shape& image);

}  // namespace tessera
