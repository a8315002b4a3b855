#include "models/mobilenet.h"

#include <algorithm>

namespace tessera::models {

namespace {

// Convolution, batch-norm, activation: names 0, 1, 2.
template <class Activation>
nn::Sequential conv_norm(const ConvShape& shape) {
  return nn::Sequential(conv(shape), nn::BatchNorm2d(shape.out), Activation());
}

ConvShape depthwise(std::int64_t channels, std::int64_t stride) {
  return {.in = channels,
          .out = channels,
          .kernel = 3,
          .stride = stride,
          .padding = 1,
          .groups = channels};
}

// Expansion (unless it is 1), depthwise, linear projection; a shortcut where the shape stays.
std::shared_ptr<const nn::Module> inverted_residual(std::int64_t in, std::int64_t out,
                                                    std::int64_t stride, std::int64_t expansion) {
  const std::int64_t hidden = in * expansion;
  nn::Sequential layers;
  const auto add = [&](auto module) {
    layers.add(std::to_string(layers.size()), std::move(module));
  };
  if (expansion != 1) add(conv_norm<nn::ReLU6>({.in = in, .out = hidden, .kernel = 1}));
  add(conv_norm<nn::ReLU6>(depthwise(hidden, stride)));
  add(conv({.in = hidden, .out = out, .kernel = 1}));
  add(nn::BatchNorm2d(out));
  nn::Sequential body;
  body.add("conv", std::move(layers));
  if (stride == 1 && in == out) return nn::share(nn::Residual(std::move(body)));
  return nn::share(std::move(body));
}

}  // namespace

nn::Sequential mobilenet_v1(std::int64_t classes, Stem stem, double width, std::int64_t channels) {
  const auto scaled = [&](std::int64_t n) { return scaled_channels(n, width, 8); };
  struct Layer {
    std::int64_t out, stride;
  };
  const Layer layers[] = {{64, 1},  {128, 2}, {128, 1}, {256, 2}, {256, 1},  {512, 2}, {512, 1},
                          {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}};
  std::int64_t in = scaled(32);
  nn::Sequential model;
  model.add("0", conv_norm<nn::ReLU>({.in = channels,
                                      .out = in,
                                      .kernel = 3,
                                      .stride = stem == Stem::imagenet ? 2 : 1,
                                      .padding = 1}));
  for (const Layer& layer : layers) {
    const std::int64_t out = scaled(layer.out);
    model.add(std::to_string(model.size()),
              nn::Sequential(conv(depthwise(in, layer.stride)), nn::BatchNorm2d(in), nn::ReLU(),
                             conv({.in = in, .out = out, .kernel = 1}), nn::BatchNorm2d(out),
                             nn::ReLU()));
    in = out;
  }
  nn::Sequential net;
  net.add("model", std::move(model)).add("pool", nn::GlobalAvgPool2d());
  net.add("fc", nn::Linear(in, classes));
  return net;
}

nn::Sequential mobilenet_v2(std::int64_t classes, Stem stem, double width, std::int64_t channels) {
  const auto scaled = [&](std::int64_t n) { return scaled_channels(n, width, 8); };
  const std::int64_t first = stem == Stem::imagenet ? 2 : 1;
  struct Stage {
    std::int64_t expansion, out, blocks, stride;
  };
  const Stage stages[] = {{1, 16, 1, 1}, {6, 24, 2, first}, {6, 32, 3, 2}, {6, 64, 4, 2},
                          {6, 96, 3, 1}, {6, 160, 3, 2},    {6, 320, 1, 1}};
  std::int64_t in = scaled(32);
  nn::Sequential features;
  const auto add = [&](auto module) {
    features.add(std::to_string(features.size()), std::move(module));
  };
  add(conv_norm<nn::ReLU6>(
      {.in = channels, .out = in, .kernel = 3, .stride = first, .padding = 1}));
  for (const Stage& stage : stages) {
    const std::int64_t out = scaled(stage.out);
    for (std::int64_t i = 0; i < stage.blocks; ++i) {
      add(inverted_residual(in, out, i == 0 ? stage.stride : 1, stage.expansion));
      in = out;
    }
  }
  // The last layer does not become narrower than 1280.
  const std::int64_t last = scaled_channels(1280, std::max(1.0, width), 8);
  add(conv_norm<nn::ReLU6>({.in = in, .out = last, .kernel = 1}));
  nn::Sequential net;
  net.add("features", std::move(features)).add("pool", nn::GlobalAvgPool2d());
  net.add("classifier",
          nn::Sequential(nn::Dropout(0.2), nn::Linear(last, classes, true, nn::Init::normal(0.01f),
                                                      nn::Init::constant(0))));
  return net;
}

}  // namespace tessera::models
