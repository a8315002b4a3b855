// Small helpers that the definitions of ops share.
#pragma once

#include <algorithm>
#include <vector>

#include "core/op_def.h"
#include "ops/build.h"

namespace tessera {

// Adds a node whose graph is that of its first operand. Throws Error when a value is missing.
inline Value make_node(const OpDef& op, std::vector<Value> inputs, Attrs attrs = {}) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    check(inputs[i] || op.input_def(i).optional, "[", op.name, "] operand ", i, " is not a value");
  }
  check(!inputs.empty() && inputs[0], "[", op.name, "] needs an operand");
  Graph& graph = inputs[0].graph();
  return graph.add(op, std::move(inputs), std::move(attrs)).output();
}

// The axis as an index in [0, rank); the error names the op.
inline int normalize_axis(std::string_view op, std::int64_t axis, const Shape& shape) {
  const std::int64_t a = axis < 0 ? axis + shape.rank() : axis;
  check(a >= 0 && a < shape.rank(), "[", op, "] axis ", axis, " is out of range for shape ", shape);
  return static_cast<int>(a);
}

// Sorted, distinct axes in [0, rank); all of them when none is given.
inline Ints normalize_axes(std::string_view op, const Ints& axes, const Shape& shape) {
  Ints out;
  if (axes.empty()) {
    for (int i = 0; i < shape.rank(); ++i) out.push_back(i);
    return out;
  }
  for (const auto axis : axes) out.push_back(normalize_axis(op, axis, shape));
  std::sort(out.begin(), out.end());
  check(std::adjacent_find(out.begin(), out.end()) == out.end(), "[", op,
        "] an axis is given twice");
  return out;
}

inline bool contains(const Ints& axes, int axis) {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

// The shape with `axes` reduced: to 1 when kept, else away.
inline Shape reduced_shape(const Shape& shape, const Ints& axes, bool keep) {
  Shape out;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!contains(axes, i)) {
      out.push_back(shape[i]);
    } else if (keep) {
      out.push_back(1);
    }
  }
  return out;
}

// Product of dims [begin, end) of a bound shape.
inline std::int64_t product(const Shape& shape, int begin, int end) {
  std::int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= shape[i].value();
  return n;
}

// Random shapes for samples: small and awkward ones first, then larger than any vector or block.
inline Shape sample_shape(Rng& rng, int index) {
  switch (index) {
    case 0:
      return {1};
    case 1:
      return {7};
    case 2:
      return {3, 5};
    case 3:
      return {2, 1, 17};
    case 4:
      return {33, 16};
    case 5:
      return {4, 3, 2, 5};
    case 6:
      return {static_cast<std::int64_t>(700 + rng.below(700))};
    default:
      return {static_cast<std::int64_t>(1 + rng.below(40)),
              static_cast<std::int64_t>(1 + rng.below(70))};
  }
}
inline constexpr int kSamples = 8;

// "" or why a row that reads dense operands only cannot serve.
inline std::string refuses_encoded(const KernelQuery& query) {
  for (const Value v : query.node.inputs()) {
    if (v && !v.type().encoding.is_dense()) return "takes dense operands";
  }
  return {};
}

}  // namespace tessera
