// What the convolutional networks share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/conv.h"
#include "nn/module.h"
#include "nn/norm.h"

namespace tessera::models {

// How a network for large images begins: `imagenet` reduces 224x224 at once, `cifar` keeps 32x32.
enum class Stem { imagenet, cifar };

struct ConvShape {
  std::int64_t in, out, kernel, stride = 1, padding = 0, groups = 1;
};
// A convolution in front of batch-norm: no bias, He-normal by fan-out (He et al. 2015).
nn::Conv2d conv(const ConvShape& shape);

// A part of a network whose result others read, too: its channels, and how many pixels of the image
// one of it is wide.
struct Stage {
  std::string name;  // of the part in the path; "" adds nothing
  std::shared_ptr<const nn::Module> module;
  std::int64_t channels, stride;
};

// Height and width of an image [channels, height, width]; throws Error naming the network for
// another rank.
nn::Size2d image_size(const char* network, const Shape& sample);

// n channels times the width multiplier, a multiple of `divisor` within 10 % (Sandler et al. 2018,
// the reference implementation's rule).
std::int64_t scaled_channels(std::int64_t n, double width, std::int64_t divisor);

}  // namespace tessera::models
