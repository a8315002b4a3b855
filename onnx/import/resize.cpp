// Resize: whole factors are upsample2d; any other size, mode and arrangement of pixels is a product
// with a matrix along each axis, [new size, old size].
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "onnx/import/images.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"

namespace tessera::onnx {

namespace {

constexpr std::int64_t kMostMatrix = std::int64_t{1} << 24;  // elements

struct Rule {
  std::string mode, coordinates, nearest;
  double cubic = -0.75;  // the coefficient a
  bool exclude_outside = false;
};

// Where pixel i of the result lies in the operand.
double place(const Rule& rule, std::int64_t i, std::int64_t from, std::int64_t to, double scale,
             double begin, double end) {
  const auto x = static_cast<double>(i), n = static_cast<double>(from), m = n * scale;
  if (rule.coordinates == "half_pixel") return (x + 0.5) / scale - 0.5;
  if (rule.coordinates == "pytorch_half_pixel") return to > 1 ? (x + 0.5) / scale - 0.5 : 0;
  if (rule.coordinates == "align_corners") return to > 1 ? x * (n - 1) / (m - 1) : 0;
  if (rule.coordinates == "tf_half_pixel_for_nn") return (x + 0.5) / scale;
  if (rule.coordinates == "tf_crop_and_resize") {
    return to > 1 ? begin * (n - 1) + x * (end - begin) * (n - 1) / (m - 1)
                  : 0.5 * (begin + end) * (n - 1);
  }
  check(rule.coordinates == "asymmetric", "coordinates '", rule.coordinates, "'");
  return x / scale;
}

// The pixels that make one, from `first` on, and their weights.
std::vector<double> weights_at(const Rule& rule, double at, std::int64_t& first) {
  const double low = std::floor(at), part = at - low;
  if (rule.mode == "nearest") {
    first = static_cast<std::int64_t>(rule.nearest == "floor"               ? low
                                      : rule.nearest == "ceil"              ? std::ceil(at)
                                      : rule.nearest == "round_prefer_ceil" ? std::floor(at + 0.5)
                                                                            : std::ceil(at - 0.5));
    return {1};
  }
  first = static_cast<std::int64_t>(low);
  if (rule.mode == "linear") return {1 - part, part};
  check(rule.mode == "cubic", "the mode '", rule.mode, "'");
  --first;
  const double a = rule.cubic;
  const auto near = [&](double t) { return ((a + 2) * t - (a + 3)) * t * t + 1; };
  const auto far = [&](double t) { return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a; };
  return {far(1 + part), near(part), near(1 - part), far(2 - part)};
}

// [to, from]; `inside` says which rows lie in the operand.
Tensor matrix(const Rule& rule, std::int64_t from, std::int64_t to, double scale, double begin,
              double end, std::vector<bool>& inside) {
  check(checked_multiply(from, to) <= kMostMatrix, "an axis of ", from, " is resized to ", to);
  Tensor out(DType::f32, {to, from});
  const auto values = out.span<float>();
  for (std::int64_t i = 0; i < to; ++i) {
    const double at = place(rule, i, from, to, scale, begin, end);
    check(std::fabs(at) < 1e9, "a scale of ", scale);
    inside.push_back(at >= 0 && at <= static_cast<double>(from - 1));
    std::int64_t first = 0;
    std::vector<double> weights = weights_at(rule, at, first);
    double sum = 0;
    for (std::size_t j = 0; j < weights.size(); ++j) {
      const std::int64_t pixel = first + static_cast<std::int64_t>(j);
      if (rule.exclude_outside && (pixel < 0 || pixel >= from)) weights[j] = 0;
      sum += weights[j];
    }
    for (std::size_t j = 0; j < weights.size(); ++j) {
      const std::int64_t pixel =
          std::clamp<std::int64_t>(first + static_cast<std::int64_t>(j), 0, from - 1);
      const double weight = rule.exclude_outside ? weights[j] / sum : weights[j];
      values[static_cast<std::size_t>(i * from + pixel)] += static_cast<float>(weight);
    }
  }
  return out;
}

// The matrix times x along an axis.
Value along(Value x, int axis, Value m) {
  const int rank = x.shape().rank();
  Ints order, back(static_cast<std::size_t>(rank));
  for (int i = 0; i < rank; ++i) {
    if (i != axis) order.push_back(i);
  }
  order.push_back(axis);
  for (int i = 0; i < rank; ++i)
    back[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = i;
  const Value last = axis == rank - 1 ? x : ops::transpose(x, order);
  Shape shape = last.shape();
  const Value flat = ops::reshape(last, {joined(shape, 0, rank - 1), shape[rank - 1]});
  shape[rank - 1] = m.shape()[0];
  const Value y = ops::reshape(ops::matmul(flat, m, false, true), shape);
  return axis == rank - 1 ? y : ops::transpose(y, back);
}

}  // namespace

void resize(Context& c) {
  Value x = c.real(0);
  const int rank = x.shape().rank();
  const bool old = c.node.op == "Upsample" || c.opset() < 11;
  Rule rule{
      .mode = c.text("mode", "nearest"),
      .coordinates = c.text("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel"),
      .nearest = c.text("nearest_mode", old ? "floor" : "round_prefer_floor"),
      .cubic = c.number("cubic_coeff_a", -0.75),
      .exclude_outside = c.integer("exclude_outside", 0) != 0};
  if (rule.mode == "bilinear") rule.mode = "linear";
  check(c.integer("antialias", 0) == 0, "antialias");
  check(c.text("keep_aspect_ratio_policy", "stretch") == "stretch", "keep_aspect_ratio_policy");
  Ints axes;
  for (int i = 0; i < rank; ++i) axes.push_back(i);
  if (const auto given = c.list("axes")) axes = *given;
  const auto reals = [&](std::size_t i) {
    std::vector<double> out;
    if (!c.has(i)) return out;
    const Small numbers = c.small(i);
    for (std::size_t j = 0; j < numbers.size(); ++j) out.push_back(numbers.real(j));
    return out;
  };
  std::vector<double> scales;
  if (c.find("scales") != nullptr) {
    for (const float v : c.find("scales")->reals) scales.push_back(v);
  } else {
    scales = reals(old ? 1 : 2);
  }
  std::vector<Dim> sizes;
  if (!old && c.has(3)) sizes = c.dims(3);
  const std::vector<double> roi = old ? std::vector<double>() : reals(1);
  check(sizes.empty() ? scales.size() == axes.size() : sizes.size() == axes.size(), "expected ",
        axes.size(), " scales or sizes");
  const bool cropped = rule.coordinates == "tf_crop_and_resize";
  check(!cropped || roi.size() == 2 * axes.size(), "expected a region of ", 2 * axes.size(),
        " numbers");
  // A whole factor of both sides.
  const auto whole = [&](double factor) {
    return factor >= 1 && factor <= 64 && factor == std::floor(factor);
  };
  std::vector<double> factor(static_cast<std::size_t>(rank), 1);
  std::vector<std::int64_t> size(static_cast<std::size_t>(rank), 0);  // 0: as it is
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = axis_of(axes[i], rank);
    const auto at = static_cast<std::size_t>(axis);
    const Dim dim = x.shape()[axis];
    if (dim.is_symbolic()) {
      check(sizes.empty() ? scales[i] == 1 : sizes[i] == dim, "the batch is resized");
      continue;
    }
    const auto n = static_cast<double>(dim.value());
    if (!sizes.empty()) check(!sizes[i].is_symbolic(), "a side as large as the batch");
    factor[at] = sizes.empty() ? scales[i] : static_cast<double>(sizes[i].value()) / n;
    const double wanted =
        sizes.empty() ? std::floor(n * scales[i]) : static_cast<double>(sizes[i].value());
    check(wanted >= 1 && wanted < 1e9, "a side of ", wanted);
    size[at] = static_cast<std::int64_t>(wanted);
  }
  const bool plain =
      rank == 4 && factor[0] == 1 && factor[1] == 1 && factor[2] == factor[3] && whole(factor[2]);
  const bool nearest =
      rule.mode == "nearest" && rule.coordinates == "asymmetric" && rule.nearest == "floor";
  const bool bilinear =
      rule.mode == "linear" && !rule.exclude_outside &&
      (rule.coordinates == "half_pixel" || rule.coordinates == "pytorch_half_pixel");
  if (plain && (nearest || bilinear)) {
    const auto times = static_cast<std::int64_t>(factor[2]);
    return c.out(0, ops::upsample2d(
                        x, times, nearest ? ops::Upsampling::nearest : ops::Upsampling::bilinear));
  }
  Value inside;  // 1 where the result is of the operand
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = axis_of(axes[i], rank);
    const auto at = static_cast<std::size_t>(axis);
    if (size[at] == 0) continue;
    const std::int64_t n = x.shape()[axis].value();
    const double begin = cropped ? roi[i] : 0, end = cropped ? roi[i + axes.size()] : 1;
    if (size[at] == n && factor[at] == 1 && begin == 0 && end == 1) continue;
    std::vector<bool> rows;
    const Tensor m = matrix(rule, n, size[at], factor[at], begin, end, rows);
    x = along(x, axis, c.constant(m, cat(".resize", axis)));
    if (!cropped) continue;
    Shape shape;
    for (int a = axis; a < rank; ++a) shape.push_back(a == axis ? size[at] : 1);
    Tensor in(DType::f32, shape);
    for (std::size_t r = 0; r < rows.size(); ++r) in.span<float>()[r] = rows[r] ? 1.0f : 0.0f;
    const Value own = c.constant(in, cat(".inside", axis));
    inside = inside ? inside * own : own;
  }
  c.out(0, inside ? ops::where(inside, x, c.number("extrapolation_value", 0)) : x);
}

}  // namespace tessera::onnx
