// Movement: elements change place, never value; any dtype. What its ops have in common.
#pragma once

#include <optional>
#include <vector>

#include "ops/op_common.h"

namespace tessera {

inline int axis_of(const Attrs& attrs, const Shape& shape, std::string_view op) {
  return normalize_axis(op, attrs.integer("axis"), shape);
}

// Strides of a row-major tensor.
inline std::vector<std::int64_t> strides(const Shape& shape) {
  return strides_of(shape.values());
}

inline std::optional<DType> sample_dtype(int index) {
  // f32 mostly: gradients are checked for it only.
  constexpr DType dtypes[] = {DType::f32, DType::f32, DType::s32, DType::f32,
                              DType::u8,  DType::f32, DType::s64, DType::f32};
  return index < kSamples ? std::optional(dtypes[index]) : std::nullopt;
}

inline SampleInput sample_x(DType dtype, const Shape& shape) {
  if (dtype == DType::f32) return {{dtype, shape, {}}};
  SampleInput input{{dtype, shape, {}}};
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    input.values.push_back(static_cast<double>(i % 100));
  }
  return input;
}

// Images whose channels do not fill their last block, and steps across pixels.
inline constexpr int kImages = 2;
inline Shape sample_image() {
  return {2, 20, 6, 5};
}

// Calls fn(index in the short tensor, index in the long one): the long one has `size` along axis.
template <class Fn>
void for_each_placed(const Shape& small, int axis, std::int64_t size, const Attrs& attrs, Fn&& fn) {
  const std::int64_t begin = attrs.integer("begin"), step = attrs.integer("step");
  const std::int64_t n = small[axis].value(), inner = product(small, axis + 1, small.rank());
  for (std::int64_t e = 0; e < small.numel(); ++e) {
    const std::int64_t i = e % inner, j = e / inner % n, o = e / inner / n;
    fn(static_cast<std::size_t>(e),
       static_cast<std::size_t>((o * size + begin + j * step) * inner + i));
  }
}

}  // namespace tessera
