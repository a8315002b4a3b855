// Modules of images: x f32 [n, channels, height, width].
#pragma once

#include <cstdint>
#include <optional>

#include "nn/module.h"

namespace tessera::nn {

// One number for both directions, or two.
struct Size2d {
  std::int64_t height, width;
  Size2d(std::int64_t both) : height(both), width(both) {}  // NOLINT: a number is a square
  Size2d(std::int64_t h, std::int64_t w) : height(h), width(w) {}
};

struct Conv2dOptions {
  Size2d stride = 1, padding = 0, dilation = 1;  // padding: zeros on either side
  std::int64_t groups = 1;
  bool bias = true;
  // Default: pytorch_default, which is kaiming_uniform with a = sqrt(5).
  std::optional<Init> weight_init = {}, bias_init = {};
};

// Cross-correlation: weight [out, in / groups, kh, kw], bias [out]. groups = in is depthwise.
class Conv2d final : public Module {
 public:
  Conv2d(std::int64_t in, std::int64_t out, Size2d kernel, Conv2dOptions options = {});
  Value forward(Scope& scope, Value x) const override;

 private:
  std::int64_t in_, out_;
  Size2d kernel_;
  Conv2dOptions options_;
  Init weight_init_, bias_init_;
};

struct Pool2dOptions {
  std::optional<Size2d> stride = {};  // default: the kernel's size
  Size2d padding = 0;
  bool ceil = false;  // a last window may reach over the border, as in Caffe
};

// The largest of each window; padding never wins.
class MaxPool2d final : public Module {
 public:
  explicit MaxPool2d(Size2d kernel, Pool2dOptions options = {});
  Value forward(Scope& scope, Value x) const override;

 private:
  Size2d kernel_;
  Pool2dOptions options_;
};

// The mean of each window; padding counts as zeros.
class AvgPool2d final : public Module {
 public:
  explicit AvgPool2d(Size2d kernel, Pool2dOptions options = {});
  Value forward(Scope& scope, Value x) const override;

 private:
  Size2d kernel_;
  Pool2dOptions options_;
};

// [n, c, h, w] -> [n, c].
struct GlobalAvgPool2d final : Function {
  GlobalAvgPool2d();
};

}  // namespace tessera::nn
