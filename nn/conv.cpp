#include "nn/conv.h"

#include "ops/build.h"

namespace tessera::nn {

namespace {

void check_size(std::string_view module, std::string_view what, Size2d size, std::int64_t least) {
  check(size.height >= least && size.width >= least, "[", module, "] ", what, " must be at least ",
        least, ", got ", size.height, "x", size.width);
}

std::array<std::int64_t, 2> pair(Size2d size) {
  return {size.height, size.width};
}

std::array<std::int64_t, 4> all_sides(Size2d padding) {
  return {padding.height, padding.width, padding.height, padding.width};
}

void check_pool(std::string_view module, Size2d kernel, const Pool2dOptions& options) {
  check_size(module, "kernel", kernel, 1);
  check_size(module, "stride", options.stride.value_or(kernel), 1);
  check_size(module, "padding", options.padding, 0);
}

ops::Pool2dOptions pooling(Size2d kernel, const Pool2dOptions& options) {
  ops::Pool2dOptions out;
  out.kernel = pair(kernel);
  out.stride = pair(options.stride.value_or(kernel));
  out.padding = all_sides(options.padding);
  out.ceil = options.ceil;
  return out;
}

}  // namespace

Conv2d::Conv2d(std::int64_t in, std::int64_t out, Size2d kernel, Conv2dOptions options)
    : in_(in),
      out_(out),
      kernel_(kernel),
      options_(std::move(options)),
      weight_init_(Init::constant(0)),
      bias_init_(Init::constant(0)) {
  check(in >= 1 && out >= 1, "[Conv2d] needs at least one input and one output channel, got ", in,
        " and ", out);
  check(options_.groups >= 1 && in % options_.groups == 0 && out % options_.groups == 0,
        "[Conv2d] groups must divide ", in, " inputs and ", out, " outputs, got ", options_.groups);
  check_size("Conv2d", "kernel", kernel, 1);
  check_size("Conv2d", "stride", options_.stride, 1);
  check_size("Conv2d", "dilation", options_.dilation, 1);
  check_size("Conv2d", "padding", options_.padding, 0);
  const Init usual = pytorch_default(in / options_.groups * kernel.height * kernel.width);
  weight_init_ = options_.weight_init.value_or(usual);
  bias_init_ = options_.bias_init.value_or(usual);
}

Value Conv2d::forward(Scope& scope, Value x) const {
  check(x.shape().rank() == 4 && x.shape()[1] == Dim(in_), "[Conv2d ", scope.path(),
        "] expected x f32[n,", in_, ",h,w], got ", x.type().text());
  const Value weight = scope.param(
      "weight", {out_, in_ / options_.groups, kernel_.height, kernel_.width}, weight_init_);
  ops::Conv2dOptions conv;
  conv.stride = pair(options_.stride);
  conv.dilation = pair(options_.dilation);
  conv.padding = all_sides(options_.padding);
  conv.groups = options_.groups;
  const Value y = ops::conv2d(scope.layer_input(x), weight, conv);
  if (!options_.bias) return y;
  return y + ops::reshape(scope.param("bias", {out_}, bias_init_), {1, out_, 1, 1});
}

MaxPool2d::MaxPool2d(Size2d kernel, Pool2dOptions options) : kernel_(kernel), options_(options) {
  check_pool("MaxPool2d", kernel, options);
}

Value MaxPool2d::forward(Scope&, Value x) const {
  return ops::max_pool2d(x, pooling(kernel_, options_));
}

AvgPool2d::AvgPool2d(Size2d kernel, Pool2dOptions options) : kernel_(kernel), options_(options) {
  check_pool("AvgPool2d", kernel, options);
}

Value AvgPool2d::forward(Scope&, Value x) const {
  return ops::avg_pool2d(x, pooling(kernel_, options_));
}

GlobalAvgPool2d::GlobalAvgPool2d() : Function([](Value x) { return ops::global_avg_pool2d(x); }) {}

}  // namespace tessera::nn
