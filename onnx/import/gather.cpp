// Rows by number: known numbers are slices of a value or elements of a constant, others an
// embedding.
#include <algorithm>

#include "core/error.h"
#include "onnx/import/movement.h"
#include "onnx/import/positions.h"
#include "ops/build.h"
#include "ops/embedding/embedding.h"

namespace tessera::onnx {

namespace {

constexpr std::int64_t kMostPieces = 4096;
constexpr std::int64_t kExact = 1 << 24;  // integers up to here are f32 exactly

Ints joined_shape(const Ints& data, int axis, const Ints& index) {
  Ints out(data.begin(), data.begin() + axis);
  out.insert(out.end(), index.begin(), index.end());
  out.insert(out.end(), data.begin() + axis + 1, data.end());
  return out;
}

Ints known_numbers(const Small& index, std::int64_t size) {
  Ints out;
  for (std::size_t i = 0; i < index.size(); ++i) {
    const std::int64_t at = index.integer(i);
    check(at >= -size && at < size, "index ", at, " of an axis of ", size);
    out.push_back(at < 0 ? at + size : at);
  }
  return out;
}

Small of_constant(const Small& data, int axis, const Small& index) {
  const std::int64_t size = data.shape[static_cast<std::size_t>(axis)];
  const Ints numbers = known_numbers(index, size);
  const auto behind = index.shape.size();
  const Ints shape = joined_shape(data.shape, axis, index.shape);
  const auto a = static_cast<std::size_t>(axis);
  const Ints source = positions(shape, [&](std::span<const std::int64_t> at) {
    Ints own(at.begin(), at.begin() + axis);
    const std::int64_t which = place_of(at.subspan(a, behind), index.shape);
    own.push_back(numbers[static_cast<std::size_t>(which)]);
    own.insert(own.end(), at.begin() + static_cast<std::ptrdiff_t>(a + behind), at.end());
    return place_of(own, data.shape);
  });
  return picked(data, shape, source);
}

// Slices of a value, neighbours together.
Value by_known(Value data, int axis, const Small& index) {
  const Dim size = data.shape()[axis];
  check(!size.is_symbolic(), "samples of the batch by number");
  const Ints numbers = known_numbers(index, size.value());
  check(std::ssize(numbers) <= kMostPieces && !numbers.empty(), "a gather of ", numbers.size(),
        " pieces");
  std::vector<Value> pieces;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    pieces.push_back(ops::slice(data, axis, numbers[i], numbers[end - 1] + 1));
    i = end;
  }
  const Value all = pieces.size() == 1 ? pieces[0] : ops::concat(pieces, axis);
  Shape shape;
  for (int i = 0; i < axis; ++i) shape.push_back(data.shape()[i]);
  for (const std::int64_t d : index.shape) shape.push_back(d);
  for (int i = axis + 1; i < data.shape().rank(); ++i) shape.push_back(data.shape()[i]);
  return ops::reshape(all, shape);
}

// Numbers from the end are negative.
Value wrapped(Value index, std::int64_t size) {
  check(index.type().dtype == DType::s32 || index.type().dtype == DType::s64, "indices of ",
        index.type().text());
  check(size < kExact, "indices into ", size, " rows");
  const Value number = ops::cast(index, DType::f32);
  return ops::cast(number + ops::greater(0.0, number) * static_cast<double>(size), DType::s32);
}

Value by_value(Context& c, int axis) {
  const Value index = c.any(1);
  Value data = axis == 0 ? c.any(0) : c.real(0);
  check(data.type().dtype == DType::f32, "rows of ", data.type().text(), " by number");
  const Shape& shape = data.shape();
  const int rank = shape.rank();
  check(!shape[axis].is_symbolic(), "samples of the batch by number");
  Ints front = {axis};
  for (int i = 0; i < rank; ++i) {
    if (i != axis) front.push_back(i);
  }
  Value table = axis == 0 ? data : ops::transpose(data, front);
  const Shape turned = table.shape();
  if (rank != 2) table = ops::reshape(table, {turned[0], joined(turned, 1, rank)});
  Value rows = ops::embedding(table, wrapped(index, turned[0].value()));
  Shape apart = index.shape();
  for (int i = 1; i < rank; ++i) apart.push_back(turned[i]);
  if (rank != 2) rows = ops::reshape(rows, apart);
  if (axis == 0) return rows;
  // [index, before, behind] -> [before, index, behind]
  const int indices = index.shape().rank();
  Ints order;
  for (int i = 0; i < axis; ++i) order.push_back(indices + i);
  for (int i = 0; i < indices; ++i) order.push_back(i);
  for (int i = axis; i < rank - 1; ++i) order.push_back(indices + i);
  return ops::transpose(rows, order);
}

}  // namespace

void gather(Context& c) {
  const Item& data = c.in(0);
  const int axis = axis_of(c.integer("axis", 0), data.shape().rank());
  if (c.all_constant()) return c.out(0, of_constant(c.small(0), axis, c.small(1)));
  if (c.in(1).is_constant()) return c.out(0, by_known(c.any(0), axis, c.small(1)), data.type);
  c.out(0, by_value(c, axis), data.type);
}

void one_hot(Context& c) {
  const auto depth = c.scalar(1);
  check(depth && *depth >= 1 && *depth < kExact, "the depth must be known when the graph is built");
  const auto n = static_cast<std::int64_t>(*depth);
  Value index = c.any(0);
  if (index.type().dtype == DType::f32) index = ops::cast(index, DType::s64);
  const int rank = index.shape().rank() + 1;
  const int axis = axis_of(c.integer("axis", -1), rank);
  const Value values = c.real(2);  // off, on
  const auto at = [&](std::int64_t i) { return ops::reshape(ops::slice(values, 0, i, i + 1), {}); };
  const Value hot = ops::one_hot(wrapped(index, n), n);
  Ints order;
  for (int i = 0; i < rank - 1; ++i) order.push_back(i);
  order.insert(order.begin() + axis, rank - 1);
  const Value off = at(0), turned = axis == rank - 1 ? hot : ops::transpose(hot, order);
  c.out(0, turned * (at(1) - off) + off, c.in(2).type);
}

}  // namespace tessera::onnx
