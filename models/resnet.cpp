#include "models/resnet.h"

#include <array>

namespace tessera::models {

namespace {

constexpr std::int64_t kExpansion = 4;  // of a bottleneck

nn::Sequential basic(std::int64_t in, std::int64_t planes, std::int64_t stride) {
  nn::Sequential body;
  body.add("conv1", conv({.in = in, .out = planes, .kernel = 3, .stride = stride, .padding = 1}));
  body.add("bn1", nn::BatchNorm2d(planes)).add("relu1", nn::ReLU());
  body.add("conv2", conv({.in = planes, .out = planes, .kernel = 3, .padding = 1}));
  body.add("bn2", nn::BatchNorm2d(planes));
  return body;
}

nn::Sequential bottleneck(std::int64_t in, std::int64_t planes, std::int64_t stride) {
  nn::Sequential body;
  body.add("conv1", conv({.in = in, .out = planes, .kernel = 1}));
  body.add("bn1", nn::BatchNorm2d(planes)).add("relu1", nn::ReLU());
  body.add("conv2",
           conv({.in = planes, .out = planes, .kernel = 3, .stride = stride, .padding = 1}));
  body.add("bn2", nn::BatchNorm2d(planes)).add("relu2", nn::ReLU());
  body.add("conv3", conv({.in = planes, .out = kExpansion * planes, .kernel = 1}));
  body.add("bn3", nn::BatchNorm2d(kExpansion * planes));
  return body;
}

// relu(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes.
nn::Sequential block(nn::Sequential body, std::int64_t in, std::int64_t out, std::int64_t stride) {
  nn::Sequential sum;
  if (stride == 1 && in == out) {
    sum.add("", nn::Residual(std::move(body)));
  } else {
    nn::Sequential shortcut(conv({.in = in, .out = out, .kernel = 1, .stride = stride}),
                            nn::BatchNorm2d(out));
    sum.add("", nn::Residual(std::move(body), "downsample", std::move(shortcut)));
  }
  sum.add("relu", nn::ReLU());
  return sum;
}

std::array<std::int64_t, 4> blocks_of(std::int64_t depth) {
  if (depth == 18) return {2, 2, 2, 2};
  if (depth == 34 || depth == 50) return {3, 4, 6, 3};
  fail("resnet has depth 18, 34 or 50, got ", depth);
}

}  // namespace

nn::Sequential resnet(std::int64_t depth, std::int64_t classes, Stem stem, std::int64_t channels) {
  const auto blocks = blocks_of(depth);
  const bool wide = depth >= 50;
  nn::Sequential net;
  if (stem == Stem::imagenet) {
    net.add("conv1", conv({.in = channels, .out = 64, .kernel = 7, .stride = 2, .padding = 3}));
  } else {
    net.add("conv1", conv({.in = channels, .out = 64, .kernel = 3, .padding = 1}));
  }
  net.add("bn1", nn::BatchNorm2d(64)).add("relu", nn::ReLU());
  if (stem == Stem::imagenet) net.add("maxpool", nn::MaxPool2d(3, {.stride = 2, .padding = 1}));
  std::int64_t in = 64, planes = 64;
  for (std::size_t stage = 0; stage < blocks.size(); ++stage, planes *= 2) {
    nn::Sequential layer;
    const std::int64_t out = wide ? kExpansion * planes : planes;
    for (std::int64_t i = 0; i < blocks[stage]; ++i) {
      const std::int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      layer.add(std::to_string(i),
                block(wide ? bottleneck(in, planes, stride) : basic(in, planes, stride), in, out,
                      stride));
      in = out;
    }
    net.add("layer" + std::to_string(stage + 1), std::move(layer));
  }
  net.add("avgpool", nn::GlobalAvgPool2d()).add("fc", nn::Linear(in, classes));
  return net;
}

}  // namespace tessera::models
