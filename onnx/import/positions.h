// Movement of constants: which element of the operand each element of the result is.
#pragma once

#include <span>

#include "core/error.h"
#include "onnx/import/context.h"

namespace tessera::onnx {

// at(index) for every index of `shape`, in row-major order. Error when there are too many.
template <class At>
Ints positions(const Ints& shape, At at) {
  std::int64_t n = 1;
  for (const std::int64_t d : shape) {
    n = checked_multiply(n, d);
    check(n <= kMostSmall, "shape arithmetic on more than ", kMostSmall, " numbers");
  }
  Ints index(shape.size()), out;
  for (std::int64_t i = 0; i < n; ++i) {
    out.push_back(at(std::span<const std::int64_t>(index)));
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
  return out;
}

// Row-major place of an index.
inline std::int64_t place_of(std::span<const std::int64_t> index, const Ints& shape) {
  std::int64_t out = 0;
  for (std::size_t axis = 0; axis < shape.size(); ++axis) out = out * shape[axis] + index[axis];
  return out;
}

}  // namespace tessera::onnx
