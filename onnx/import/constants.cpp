// Constants, and what tells shapes: the beginnings of shape arithmetic.
#include <cmath>

#include "core/error.h"
#include "onnx/import/context.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

void constant(Context& c) {
  using Kind = AttributeProto::Kind;
  check(c.node.attributes.size() == 1, "expected one attribute, the value, got ",
        c.node.attributes.size());
  const AttributeProto& value = *c.find(c.node.attributes.front().name);
  if (value.name == "value" && value.tensor.size() == 1) {
    Item item{.kind = Item::Kind::tensor, .type = value.tensor[0].type};
    item.tensor = read_tensor(value.tensor[0], c.folder());
    return c.out(0, std::move(item));
  }
  Small out;
  if (value.name == "value_float" && value.kind == Kind::real) {
    out = {.type = ElementType::f32, .reals = {value.real}};
  } else if (value.name == "value_int" && value.kind == Kind::integer) {
    out = {.ints = {value.integer}};
  } else if (value.name == "value_floats" && value.kind == Kind::reals) {
    out = {.type = ElementType::f32, .shape = {std::ssize(value.reals)}};
    out.reals.assign(value.reals.begin(), value.reals.end());
  } else if (value.name == "value_ints" && value.kind == Kind::integers) {
    out = {.shape = {std::ssize(value.integers)}};
    out.ints.assign(value.integers.begin(), value.integers.end());
  } else {
    fail("expected a tensor or numbers");
  }
  c.out(0, std::move(out));
}

void constant_of_shape(Context& c) {
  Tensor value = Tensor::scalar(0);
  ElementType type = ElementType::f32;
  if (const AttributeProto* given = c.find("value")) {
    check(given->tensor.size() == 1, "attribute 'value': expected a tensor");
    type = given->tensor[0].type;
    value = read_tensor(given->tensor[0], c.folder());
    check(value.numel() == 1, "attribute 'value': expected one number");
  }
  const double number = element(value, 0);
  const std::vector<Dim> dims = c.dims(0);
  const Shape shape = shape_of(dims);
  if (!shape.is_symbolic() && shape.numel() <= kMostSmall) {
    Small out{.type = type, .shape = shape.values()};
    const auto n = static_cast<std::size_t>(shape.numel());
    if (is_float(type)) {
      out.reals.assign(n, number);
    } else {
      out.ints.assign(n, Dim(static_cast<std::int64_t>(number)));
    }
    return c.out(0, std::move(out));
  }
  check(is_float(type) || type == ElementType::boolean, "a value of ", name(type), " as large as ",
        shape);
  c.out(0, c.graph().constant(number, {DType::f32, shape, {}}), type);
}

void shape_of_value(Context& c) {
  const Item& item = c.in(0);
  const Shape shape = item.kind == Item::Kind::value ? item.value.shape() : item.shape();
  const auto bound = [&](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + shape.rank() : at, 0, shape.rank());
  };
  const std::int64_t begin = bound(c.integer("start", 0));
  const std::int64_t end = bound(c.integer("end", shape.rank()));
  Small out;
  for (std::int64_t i = begin; i < end; ++i) out.ints.push_back(shape[static_cast<int>(i)]);
  out.shape = {std::ssize(out.ints)};
  c.out(0, std::move(out));
}

void size_of_value(Context& c) {
  Small out;
  out.ints.push_back(c.in(0).shape().numel_dim());
  c.out(0, std::move(out));
}

void range(Context& c) {
  check(c.inputs() == 3, "expected 3 operands, got ", c.inputs());
  const Small start = c.small(0), limit = c.small(1), step = c.small(2);
  check(start.size() == 1 && limit.size() == 1 && step.size() == 1 && step.real(0) != 0,
        "expected three numbers, the last one not 0");
  const double count = std::ceil((limit.real(0) - start.real(0)) / step.real(0));
  check(count <= kMostSmall, "a range of ", count, " numbers");
  Small out{.type = start.type};
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(count); ++i) {
    if (is_float(start.type)) {
      out.reals.push_back(start.real(0) + static_cast<double>(i) * step.real(0));
    } else {
      out.ints.emplace_back(start.integer(0) + i * step.integer(0));
    }
  }
  out.shape = {static_cast<std::int64_t>(out.size())};
  c.out(0, std::move(out));
}

// Places of what is not 0, of constants: [rank, count].
void non_zero(Context& c) {
  const Small in = c.small(0);
  const auto rank = in.shape.size();
  std::vector<Ints> found;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in.real(i) == 0) continue;
    Ints index(rank);
    auto rest = static_cast<std::int64_t>(i);
    for (std::size_t axis = rank; axis-- > 0; rest /= in.shape[axis])
      index[axis] = rest % in.shape[axis];
    found.push_back(index);
  }
  Small out{.shape = {static_cast<std::int64_t>(rank), std::ssize(found)}};
  for (std::size_t axis = 0; axis < rank; ++axis) {
    for (const Ints& index : found) out.ints.emplace_back(index[axis]);
  }
  c.out(0, std::move(out));
}

constexpr OpRow kRows[] = {
    {"Constant", constant},    {"ConstantOfShape", constant_of_shape},
    {"Shape", shape_of_value}, {"Size", size_of_value},
    {"Range", range},          {"NonZero", non_zero},
};

}  // namespace

std::span<const OpRow> constant_rows() {
  return kRows;
}

}  // namespace tessera::onnx
