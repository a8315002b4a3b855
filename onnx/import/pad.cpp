// Pad: with a constant, the border's value, or the image mirrored.
#include <algorithm>

#include "core/error.h"
#include "onnx/import/movement.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

constexpr std::int64_t kMostPieces = 4096;

Value mirrored(Value x, int axis, std::int64_t begin, std::int64_t count, std::int64_t step) {
  std::vector<Value> pieces;
  for (std::int64_t i = 0; i < count; ++i)
    pieces.push_back(ops::slice(x, axis, begin + i * step, begin + i * step + 1));
  return ops::concat(pieces, axis);
}

// One axis, what is before and behind it made of x.
Value continued(Value x, int axis, std::int64_t before, std::int64_t after, bool mirror) {
  const std::int64_t n = x.shape()[axis].value();
  check(before <= kMostPieces && after <= kMostPieces, "pads of ", before, " and ", after);
  check(!mirror || (before < n && after < n), "an axis of ", n, " mirrored for ", before, " and ",
        after);
  std::vector<Value> parts;
  const auto edge = [&](std::int64_t at, std::int64_t count) {
    return mirrored(x, axis, at, count, 0);
  };
  if (before > 0) parts.push_back(mirror ? mirrored(x, axis, before, before, -1) : edge(0, before));
  parts.push_back(x);
  if (after > 0) parts.push_back(mirror ? mirrored(x, axis, n - 2, after, -1) : edge(n - 1, after));
  return ops::concat(parts, axis);
}

}  // namespace

void pad(Context& c) {
  Value x = c.real(0);
  const int rank = x.shape().rank();
  const std::string mode = c.text("mode", "constant");
  Ints pads = (c.opset() < 2    ? c.list("paddings")
               : c.opset() < 11 ? c.list("pads")
                                : c.list("pads", 1))
                  .value_or(Ints());
  Ints axes;
  for (int i = 0; i < rank; ++i) axes.push_back(i);
  if (c.has(3)) axes = c.ints(3);
  check(pads.size() == 2 * axes.size(), "expected ", 2 * axes.size(), " pads, got ", pads.size());
  check(mode == "constant" || mode == "reflect" || mode == "edge", "the mode '", mode, "'");
  ops::Arg fill(c.opset() < 11 ? c.number("value", 0) : 0.0);
  const bool zero =
      c.opset() < 11 ? c.number("value", 0) == 0 : !c.has(2) || c.scalar(2).value_or(1) == 0;
  if (c.opset() >= 11 && c.has(2)) fill = ops::Arg(ops::reshape(c.real(2), {}));
  Value inside;  // 1 where x is
  if (mode == "constant" && !zero) inside = c.graph().constant(1, x.type());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = axis_of(axes[i], rank);
    std::int64_t before = pads[i], after = pads[i + axes.size()];
    check(std::abs(before) <= kMaxDim && std::abs(after) <= kMaxDim, "pads of ", before, " and ",
          after);
    if (before == 0 && after == 0) continue;
    check(!x.shape()[axis].is_symbolic(), "the batch is padded");
    const std::int64_t size = x.shape()[axis].value();
    const std::int64_t low = std::max<std::int64_t>(0, -before);
    const std::int64_t high = size - std::max<std::int64_t>(0, -after);
    check(low <= high, "pads of ", before, " and ", after, " leave nothing of ", size);
    before = std::max<std::int64_t>(before, 0);
    after = std::max<std::int64_t>(after, 0);
    const auto grow = [&](Value v) {
      if (low > 0 || high < size) v = ops::slice(v, axis, low, high);
      if (mode != "constant") return continued(v, axis, before, after, mode == "reflect");
      return ops::pad(v, axis, before, after);
    };
    x = grow(x);
    if (inside) inside = grow(inside);
  }
  c.out(0, inside ? ops::where(inside, x, fill) : x);
}

}  // namespace tessera::onnx
