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

nn::Sequential residual_block(std::int64_t in, std::int64_t out, std::int64_t stride) {
  return block(basic(in, out, stride), in, out, stride);
}

std::vector<Stage> resnet_stages(std::int64_t depth, Stem stem, std::int64_t channels) {
  const auto blocks = blocks_of(depth);
  const bool wide = depth >= 50, small = stem == Stem::cifar;
  nn::Sequential first;
  first.add("conv1", conv({.in = channels,
                           .out = 64,
                           .kernel = small ? 3 : 7,
                           .stride = small ? 1 : 2,
                           .padding = small ? 1 : 3}));
  first.add("bn1", nn::BatchNorm2d(64)).add("relu", nn::ReLU());
  if (!small) first.add("maxpool", nn::MaxPool2d(3, {.stride = 2, .padding = 1}));
  std::int64_t in = 64, planes = 64, width = small ? 1 : 4;  // of a pixel
  std::vector<Stage> out = {{"", nn::share(std::move(first)), in, width}};
  for (std::size_t stage = 0; stage < blocks.size(); ++stage, planes *= 2) {
    nn::Sequential layer;
    const std::int64_t to = wide ? kExpansion * planes : planes;
    for (std::int64_t i = 0; i < blocks[stage]; ++i) {
      const std::int64_t stride = stage > 0 && i == 0 ? 2 : 1;
      layer.add(
          std::to_string(i),
          block(wide ? bottleneck(in, planes, stride) : basic(in, planes, stride), in, to, stride));
      in = to;
      width *= stride;
    }
    out.push_back({"layer" + std::to_string(stage + 1), nn::share(std::move(layer)), in, width});
  }
  return out;
}

nn::Sequential resnet(std::int64_t depth, std::int64_t classes, Stem stem, std::int64_t channels) {
  nn::Sequential net;
  std::int64_t in = 0;
  for (const Stage& stage : resnet_stages(depth, stem, channels)) {
    net.add(stage.name, stage.module);
    in = stage.channels;
  }
  net.add("avgpool", nn::GlobalAvgPool2d()).add("fc", nn::Linear(in, classes));
  return net;
}

}  // namespace tessera::models
