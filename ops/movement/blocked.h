// Copies of blocked images (ops/layout/layout.h).
#pragma once

#include <vector>

#include "ops/movement/copy.h"

namespace tessera {

// Between an image `small` and its places begin, begin + step, ... along `axis` of `large`.
std::vector<StridedCopy> blocked_copies(const Shape& small, const Shape& large, int axis,
                                        std::int64_t begin, std::int64_t step, bool to_large);

}  // namespace tessera
