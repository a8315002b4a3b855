// Convolution: the numbers that its three ops share.
#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kConv2d, kConv2dGradInput, kConv2dGradWeight;

// x [n, c, h, w] * weight [out, c / groups, kh, kw] -> y [n, out, oh, ow], all bound.
struct ConvGeometry {
  std::int64_t n, c, h, w;
  std::int64_t out, oh, ow;
  std::int64_t kh, kw;
  std::int64_t stride_h, stride_w, dilation_h, dilation_w;
  std::int64_t top, left, bottom, right;  // padding
  std::int64_t groups;

  std::int64_t group_channels() const { return c / groups; }
  std::int64_t group_outputs() const { return out / groups; }
  std::int64_t patch() const { return c / groups * kh * kw; }  // weights of one output
  bool depthwise() const { return groups == c && groups == out && groups > 1; }
  double flops() const;
  // Of a pointwise convolution with all pixels of an image in one row; of another as it is.
  ConvGeometry flattened() const;
};
ConvGeometry conv_geometry(const Attrs& attrs, const Shape& x, const Shape& weight);
// Of any of the three ops.
ConvGeometry conv_geometry(const Node& node);

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
constexpr std::int64_t up64(std::int64_t bytes) {  // to whole cache lines
  return ceil_div(bytes, 64) * 64;
}

// Size along one axis of a window that slides over `size` with `padding` in all; may be below 1.
std::int64_t window_count(std::int64_t size, std::int64_t padding, std::int64_t kernel,
                          std::int64_t stride, std::int64_t dilation = 1);

}  // namespace tessera
