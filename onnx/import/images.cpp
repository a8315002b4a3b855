// Convolution, pooling and normalization. Sequences [n, c, w] are images of one row here.
#include <algorithm>

#include "core/error.h"
#include "onnx/import/images.h"
#include "ops/build.h"
#include "ops/conv/conv.h"

namespace tessera::onnx {

namespace {

// How a window slides over an image of one row or several: down, right.
struct Window {
  std::array<std::int64_t, 2> kernel, stride = {1, 1}, dilation = {1, 1};
  std::array<std::int64_t, 4> pads = {0, 0, 0, 0};  // top, left, bottom, right
};

// One row for a sequence.
std::array<std::int64_t, 2> pair_of(const Ints& values, int spatial, std::int64_t absent,
                                    std::string_view what) {
  check(std::ssize(values) == spatial, what, ": expected ", spatial, " numbers, got ",
        values.size());
  for (const std::int64_t v : values)
    check(v >= 0 && v <= kMaxDim, what, ": ", v, " is out of range");
  if (spatial == 1) return {absent, values[0]};
  return {values[0], values[1]};
}

int spatial_axes(const Shape& x) {
  check(x.rank() == 3 || x.rank() == 4, "expected an image of rank 3 or 4, got ", x);
  for (int i = 1; i < x.rank(); ++i)
    check(!x[i].is_symbolic() && x[i].value() >= 1, "expected fixed sides of the image, got ", x);
  return x.rank() - 2;
}

// The attributes of convolution and pooling; `x` is the image as four axes.
Window window_of(Context& c, const Shape& x, int spatial, const Ints& kernel) {
  Window w{.kernel = pair_of(kernel, spatial, 1, "kernel_shape")};
  if (const auto given = c.list("strides")) w.stride = pair_of(*given, spatial, 1, "strides");
  if (const auto given = c.list("dilations")) w.dilation = pair_of(*given, spatial, 1, "dilations");
  for (const auto& values : {w.kernel, w.stride, w.dilation})
    check(values[0] >= 1 && values[1] >= 1, "kernel, strides and dilations must be at least 1");
  const std::string how = c.text("auto_pad", "NOTSET");
  if (how == "NOTSET") {
    const Ints pads = c.list("pads").value_or(Ints(static_cast<std::size_t>(2 * spatial), 0));
    check(std::ssize(pads) == 2 * spatial, "pads: expected ", 2 * spatial, " numbers, got ",
          pads.size());
    const auto begin = pair_of(Ints(pads.begin(), pads.begin() + spatial), spatial, 0, "pads");
    const auto end = pair_of(Ints(pads.begin() + spatial, pads.end()), spatial, 0, "pads");
    w.pads = {begin[0], begin[1], end[0], end[1]};
    return w;
  }
  if (how == "VALID") return w;
  check(how == "SAME_UPPER" || how == "SAME_LOWER", "auto_pad '", how, "'");
  for (std::size_t d = 0; d < 2; ++d) {
    const std::int64_t size = x[static_cast<int>(d) + 2].value();
    const std::int64_t out = ceil_div(size, w.stride[d]);
    const std::int64_t total = std::max<std::int64_t>(
        0, (out - 1) * w.stride[d] + (w.kernel[d] - 1) * w.dilation[d] + 1 - size);
    const std::int64_t less = total / 2, more = total - less;
    w.pads[d] = how == "SAME_UPPER" ? less : more;
    w.pads[d + 2] = how == "SAME_UPPER" ? more : less;
  }
  return w;
}

Value as_image(Value x) {
  const Shape& s = x.shape();
  return s.rank() == 4 ? x : ops::reshape(x, {s[0], s[1], 1, s[2]});
}
Value as_given(Value y, int spatial) {
  const Shape& s = y.shape();
  return spatial == 2 ? y : ops::reshape(y, {s[0], s[1], s[3]});
}

// The filters, of a sequence with one row.
Value filters(Context& c, std::size_t i, int spatial) {
  if (spatial == 2) return c.weight(i);
  const auto four = [](const Shape& s) {
    check(s.rank() == 3, "expected filters of rank 3, got ", s);
    return Shape{s[0], s[1], 1, s[2]};
  };
  return c.weight(
      i, "row", [&](const Tensor& t) { return t.reshape(four(t.shape())); },
      [&](Value v) { return ops::reshape(v, four(v.shape())); });
}

Value with_bias(Context& c, Value y) {
  if (!c.has(2)) return y;
  const Value bias = c.weight(2);
  check(bias.shape().rank() == 1 && bias.shape()[0] == y.shape()[1], "expected a bias of ",
        y.shape()[1].text(), " numbers, got ", bias.shape());
  return y + ops::reshape(bias, {y.shape()[1], 1, 1});
}

Ints kernel_of(Context& c, Value weight, int spatial) {
  Ints own;
  for (int i = 4 - spatial; i < 4; ++i) {
    check(!weight.shape()[i].is_symbolic(), "filters of any size");
    own.push_back(weight.shape()[i].value());
  }
  const Ints given = c.list("kernel_shape").value_or(own);
  check(given == own, "kernel_shape is not that of the filters ", weight.shape());
  return own;
}

void conv(Context& c) {
  Value x = c.real(0);
  const int spatial = spatial_axes(x.shape());
  x = as_image(x);
  const Value weight = filters(c, 1, spatial);
  check(weight.shape().rank() == 4, "expected filters of rank ", spatial + 2, ", got ",
        weight.shape());
  const Window w = window_of(c, x.shape(), spatial, kernel_of(c, weight, spatial));
  const Value y = ops::conv2d(x, weight, {w.stride, w.dilation, w.pads, c.integer("group", 1)});
  c.out(0, as_given(with_bias(c, y), spatial));
}

// The gradient of a convolution to its input.
void conv_transpose(Context& c) {
  Value x = c.real(0);
  const int spatial = spatial_axes(x.shape());
  x = as_image(x);
  const Value weight = filters(c, 1, spatial);
  check(weight.shape().rank() == 4, "expected filters of rank ", spatial + 2, ", got ",
        weight.shape());
  const std::int64_t groups = c.integer("group", 1);
  Window w{.kernel = pair_of(kernel_of(c, weight, spatial), spatial, 1, "kernel_shape")};
  if (const auto given = c.list("strides")) w.stride = pair_of(*given, spatial, 1, "strides");
  if (const auto given = c.list("dilations")) w.dilation = pair_of(*given, spatial, 1, "dilations");
  const Ints none(static_cast<std::size_t>(spatial), 0);
  const auto more = pair_of(c.list("output_padding").value_or(none), spatial, 0, "output_padding");
  const std::string how = c.text("auto_pad", "NOTSET");
  const auto wanted = c.list("output_shape");
  check(!wanted || std::ssize(*wanted) >= spatial, "output_shape of ", spatial, " numbers");
  Ints pads = c.list("pads").value_or(Ints(static_cast<std::size_t>(2 * spatial), 0));
  check(std::ssize(pads) == 2 * spatial, "pads: expected ", 2 * spatial, " numbers");
  const auto begin = pair_of(Ints(pads.begin(), pads.begin() + spatial), spatial, 0, "pads");
  const auto end = pair_of(Ints(pads.begin() + spatial, pads.end()), spatial, 0, "pads");
  w.pads = {begin[0], begin[1], end[0], end[1]};
  check(groups >= 1 && groups <= kMaxDim && !weight.shape()[1].is_symbolic(), "group ", groups);
  Shape shape{x.shape()[0], weight.shape()[1] * Dim(groups), 1, 1};
  for (std::size_t d = 0; d < 2; ++d) {
    const int axis = static_cast<int>(d) + 2;
    const std::int64_t in = x.shape()[axis].value();
    check(w.stride[d] >= 1 && w.dilation[d] >= 1, "strides and dilations must be at least 1");
    const std::int64_t all =
        w.stride[d] * (in - 1) + more[d] + (w.kernel[d] - 1) * w.dilation[d] + 1;
    const bool row = spatial == 1 && d == 0;
    std::int64_t size = all - w.pads[d] - w.pads[d + 2];
    if (wanted && !row) {
      size = (*wanted)[wanted->size() - static_cast<std::size_t>(spatial) + d -
                       (spatial == 1 ? 1 : 0)];
    } else if (how.starts_with("SAME") && !row) {
      size = in * w.stride[d];
    }
    if ((wanted || how.starts_with("SAME")) && !row) {
      const std::int64_t total = all - size;
      check(total >= 0, "the result of ", all, " cannot grow to ", size);
      const std::int64_t less = total / 2;
      w.pads[d] = how == "SAME_UPPER" ? less : total - less;
      w.pads[d + 2] = total - w.pads[d];
    }
    check(size >= 1 && size <= kMaxDim, "a result of ", size);
    shape[axis] = size;
  }
  const auto ints = [](const auto& values) { return Ints(values.begin(), values.end()); };
  const Value y = x.graph()
                      .add(kConv2dGradInput, {x, weight},
                           {{"stride", ints(w.stride)},
                            {"dilation", ints(w.dilation)},
                            {"padding", ints(w.pads)},
                            {"groups", groups},
                            {"shape", shape}})
                      .output();
  c.out(0, as_given(with_bias(c, y), spatial));
}

void pool(Context& c, bool average) {
  Value x = c.real(0);
  const int spatial = spatial_axes(x.shape());
  x = as_image(x);
  check(average || !c.wants(1), "the places of the maxima");
  check(c.integer("storage_order", 0) == 0, "storage_order 1");
  const auto kernel = c.list("kernel_shape");
  check(kernel.has_value(), "kernel_shape is missing");
  const Window w = window_of(c, x.shape(), spatial, *kernel);
  check(w.dilation[0] == 1 && w.dilation[1] == 1, "windows with gaps (dilations)");
  ops::Pool2dOptions options{w.kernel, w.stride, w.pads};
  options.ceil = c.integer("ceil_mode", 0) != 0;
  options.count_pad = c.integer("count_include_pad", 0) != 0;
  c.out(0, as_given(average ? ops::avg_pool2d(x, options) : ops::max_pool2d(x, options), spatial));
}

Ints image_axes(const Shape& x) {
  check(x.rank() >= 3, "expected an image, got ", x);
  Ints axes;
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}

// A number per channel as it broadcasts to x.
Value along_channels(Value v, const Shape& x) {
  check(v.shape().rank() == 1 && v.shape()[0] == x[1], "expected ", x[1].text(),
        " numbers, one a channel, got ", v.shape());
  Shape shape{x[1]};
  for (int i = 2; i < x.rank(); ++i) shape.push_back(1);
  return ops::reshape(v, shape);
}

void batch_norm(Context& c) {
  const Value x = c.real(0);
  check(c.inputs() == 5, "expected 5 operands, got ", c.inputs());
  check(c.integer("training_mode", 0) == 0 && c.integer("spatial", 1) == 1 && !c.wants(1),
        "batch normalization in training mode (PyTorch: model.eval() before the export)");
  check(x.shape().rank() >= 2, "expected an image, got ", x.shape());
  const Shape channels{x.shape()[1]};
  const Value of[] = {c.weight(1), c.weight(2), c.statistics(3), c.statistics(4)};
  for (const Value v : of)
    check(v.shape() == channels, "expected ", x.shape()[1].text(), " numbers a channel, got ",
          v.shape());
  c.out(0, ops::batch_norm(x, of[0], of[1], of[2], of[3], c.number("epsilon", 1e-5)));
}

void instance_norm(Context& c) {
  const Value x = c.real(0);
  const Ints axes = image_axes(x.shape());
  const Value away = x - ops::mean(x, axes, true);
  const Value deviation = ops::mean(ops::square(away), axes, true) + c.number("epsilon", 1e-5);
  c.out(0, away * ops::rsqrt(deviation) * along_channels(c.weight(1), x.shape()) +
               along_channels(c.weight(2), x.shape()));
}

// Krizhevsky et al. 2012: x / (bias + alpha / size * sum of x^2 over neighbouring channels)^beta.
void local_response(Context& c) {
  const Value x = c.real(0);
  const std::int64_t size = c.integer("size", 0);
  check(size >= 1 && size <= 256 && x.shape().rank() >= 2 && !x.shape()[1].is_symbolic(),
        "a size of ", size);
  const std::int64_t before = (size - 1) / 2, channels = x.shape()[1].value();
  const Value squares = ops::pad(ops::square(x), 1, before, size - 1 - before);
  Value sum = ops::slice(squares, 1, 0, channels);
  for (std::int64_t i = 1; i < size; ++i) sum = sum + ops::slice(squares, 1, i, i + channels);
  const double alpha = c.number("alpha", 1e-4) / static_cast<double>(size);
  c.out(0, x * ops::pow(sum * alpha + c.number("bias", 1), -c.number("beta", 0.75)));
}

constexpr OpRow kRows[] = {
    {"Conv", conv},
    {"ConvTranspose", conv_transpose},
    {"MaxPool", [](Context& c) { pool(c, false); }},
    {"AveragePool", [](Context& c) { pool(c, true); }},
    {"GlobalAveragePool",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, ops::mean(x, image_axes(x.shape()), true));
     }},
    {"GlobalMaxPool",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, ops::max(x, image_axes(x.shape()), true));
     }},
    {"BatchNormalization", batch_norm},
    {"InstanceNormalization", instance_norm},
    {"LRN", local_response},
    {"Resize", resize},
    {"Upsample", resize},
};

}  // namespace

std::span<const OpRow> image_rows() {
  return kRows;
}

}  // namespace tessera::onnx
