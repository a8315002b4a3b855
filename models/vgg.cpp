#include "models/vgg.h"

#include <vector>

#include "models/blocks.h"

namespace tessera::models {

namespace {

struct Features {
  nn::Sequential layers;
  std::int64_t outputs;
};

// One list of channels per resolution; each ends with 2x2 max pooling.
Features features(const char* network, const Shape& sample,
                  const std::vector<std::vector<std::int64_t>>& stages) {
  const nn::Size2d size = image_size(network, sample);
  std::int64_t h = size.height, w = size.width, channels = sample[0].value();
  nn::Sequential layers;
  const auto add = [&](auto module) {
    layers.add(std::to_string(layers.size()), std::move(module));
  };
  for (const auto& stage : stages) {
    for (const std::int64_t out : stage) {
      add(conv({.in = channels, .out = out, .kernel = 3, .padding = 1}));
      add(nn::BatchNorm2d(out));
      add(nn::ReLU());
      channels = out;
    }
    add(nn::MaxPool2d(2));
    h /= 2, w /= 2;
  }
  check(h >= 1 && w >= 1, network, " needs larger images than ", sample.text());
  return {std::move(layers), channels * h * w};
}

}  // namespace

nn::Sequential vgg_small(std::int64_t classes, const Shape& sample) {
  Features part = features("vgg_small", sample, {{128, 128}, {256, 256}, {512, 512}});
  nn::Sequential net;
  net.add("features", std::move(part.layers)).add("flatten", nn::Flatten());
  net.add("classifier",
          nn::Sequential(nn::Linear(part.outputs, 1024), nn::ReLU(), nn::Linear(1024, classes)));
  return net;
}

nn::Sequential vgg16(std::int64_t classes, const Shape& sample) {
  Features part = features(
      "vgg16", sample, {{64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}});
  nn::Sequential net;
  net.add("features", std::move(part.layers)).add("flatten", nn::Flatten());
  net.add("classifier", nn::Linear(part.outputs, classes));
  return net;
}

}  // namespace tessera::models
