// QuantizeLinear and DequantizeLinear: of initializers, the weights they stand for; of values, the
// same rounding in f32, through which gradients pass straight where nothing is cut off.
#include <algorithm>

#include "core/error.h"
#include "core/text.h"
#include "onnx/import/context.h"
#include "onnx/import/positions.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

struct Limits {
  double low = 0, high = 255;
};
Limits limits_of(ElementType type) {
  const int bits = bits_of(type);
  check(bits > 0, "quantized to ", name(type));
  const double half = static_cast<double>(std::int64_t{1} << (bits - 1));
  switch (type) {
    case ElementType::s8:
    case ElementType::s4:
    case ElementType::s2:
    case ElementType::s16:
      return {-half, half - 1};
    case ElementType::u8:
    case ElementType::u4:
    case ElementType::u2:
    case ElementType::u16:
      return {0, 2 * half - 1};
    default:
      fail("quantized to ", name(type));
  }
}

// A scale or zero point as it broadcasts to x.
Value along_axis(Value v, const Shape& x, int axis) {
  if (v.shape().rank() == 0 || v.shape().numel_dim() == Dim(1)) return ops::reshape(v, {});
  check(v.shape().rank() == 1 && v.shape()[0] == x[axis], "expected a number for each of ",
        x[axis].text(), ", got ", v.shape());
  Shape shape{v.shape()[0]};
  for (int i = axis + 1; i < x.rank(); ++i) shape.push_back(1);
  return ops::reshape(v, shape);
}

// Integers as f32.
Value number(Context& c, std::size_t i) {
  const Value v = c.integers(i);
  return v.type().dtype == DType::f32 ? v : ops::cast(v, DType::f32);
}

int axis_for(Context& c, const Shape& x) {
  return x.rank() == 0 ? 0 : axis_of(c.integer("axis", x.rank() > 1 ? 1 : 0), x.rank());
}

void quantize(Context& c) {
  const Value x = c.real(0);
  const int axis = axis_for(c, x.shape());
  check(c.integer("block_size", 0) == 0, "values quantized in blocks");
  auto type = static_cast<ElementType>(c.integer("output_dtype", 0));
  if (type == ElementType::undefined) type = c.has(2) ? c.in(2).type : ElementType::u8;
  const Limits limits = limits_of(type);
  const Value scale = along_axis(c.real(1), x.shape(), axis);
  Value scaled = x / scale, rounded = ops::round(scaled);
  if (c.has(2)) {
    const Value zero = along_axis(number(c, 2), x.shape(), axis);
    scaled = scaled + zero;
    rounded = rounded + zero;
  }
  const Value open = ops::clamp(scaled, limits.low, limits.high);
  const Value exact = ops::clamp(rounded, limits.low, limits.high);
  c.out(0, open + ops::detach(exact - open), type);
}

Tensor numbers(const Item& item) {
  check(item.kind == Item::Kind::tensor, "operand ", quote(item.name), " is no initializer");
  return item.tensor;
}

void dequantize(Context& c) {
  const Item& in = c.in(0);
  const std::int64_t block = c.integer("block_size", 0);
  c.find("output_dtype");  // all floats are f32 here
  if (in.kind == Item::Kind::tensor && c.in(1).kind == Item::Kind::tensor &&
      (!c.has(2) || c.in(2).kind == Item::Kind::tensor)) {
    const auto q = std::make_shared<Quantized>();
    q->values = numbers(in);
    q->stored = in.type;
    q->scale = numbers(c.in(1));
    if (c.has(2)) q->zero = numbers(c.in(2));
    q->axis = axis_for(c, q->values.shape());
    check(block >= 0 && block <= kMaxDim, "block_size ", block, " is out of range");
    q->block = block;
    q->require_sound();
    Item item{.kind = Item::Kind::quantized};
    item.initializer = true;
    item.quantized = q;
    c.out(0, std::move(item));
    return c.rename(0, in.name);
  }
  check(block == 0, "values quantized in blocks");
  const Value x = number(c, 0);
  const int axis = axis_for(c, x.shape());
  Value whole = x;
  if (c.has(2)) whole = x - along_axis(number(c, 2), x.shape(), axis);
  c.out(0, whole * along_axis(c.real(1), x.shape(), axis));
}

constexpr OpRow kRows[] = {{"QuantizeLinear", quantize}, {"DequantizeLinear", dequantize}};

}  // namespace

void Quantized::require_sound() const {
  const Shape& shape = values.shape();
  check(values.dtype() != DType::f32 && scale.dtype() == DType::f32,
        "integers and scales of float");
  if (zero.defined()) {
    check(zero.shape() == scale.shape() && zero.dtype() == values.dtype(), "zero points ",
          zero.text_type(), " of scales ", scale.text_type());
  }
  if (block > 0) {
    Shape expected = shape;
    check(shape.rank() > 0, "blocks of a number");
    expected[axis] = (shape[axis].value() + block - 1) / block;
    check(scale.shape() == expected, "expected scales ", expected, " for blocks of ", block, " of ",
          shape, ", got ", scale.shape());
    return;
  }
  check(scale.numel() == 1 || (scale.shape().rank() == 1 && scale.shape()[0] == shape[axis]),
        "scales ", scale.shape(), " of ", shape, " along axis ", axis);
}

// Which scale belongs to an element, given its place.
std::int64_t Quantized::scale_of(std::int64_t element) const {
  if (scale.numel() == 1) return 0;
  const auto dims = values.shape().values();
  const auto at = static_cast<std::size_t>(axis);
  std::int64_t inner = 1;
  for (std::size_t i = at + 1; i < dims.size(); ++i) inner *= dims[i];
  const std::int64_t along = element / inner % dims[at];
  if (block == 0) return along;
  const std::int64_t blocks = (dims[at] + block - 1) / block;
  return (element / inner / dims[at] * blocks + along / block) * inner + element % inner;
}

Tensor Quantized::decoded() const {
  Tensor out(DType::f32, values.shape());
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const std::int64_t at = scale_of(i);
    const double whole = element(values, i) - (zero.defined() ? element(zero, at) : 0);
    out.span<float>()[static_cast<std::size_t>(i)] =
        static_cast<float>(whole) * scale.span<float>()[static_cast<std::size_t>(at)];
  }
  return out;
}

std::span<const OpRow> quantized_rows() {
  return kRows;
}

}  // namespace tessera::onnx
