#include "models/alexnet.h"

#include <cmath>

#include "models/blocks.h"

namespace tessera::models {

nn::Sequential alexnet_cifar(std::int64_t classes, const Shape& sample) {
  const nn::Size2d size = image_size("alexnet_cifar", sample);
  // The first convolution has stride 4, then three pools halve.
  const auto reduced = [](std::int64_t n) { return ((n - 1) / 4 + 1) / 8; };
  const std::int64_t h = reduced(size.height), w = reduced(size.width);
  check(h >= 1 && w >= 1, "alexnet_cifar needs images of 29x29 or more, got ", sample.text());
  const auto layer = [](std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                        std::int64_t padding) {
    nn::Conv2dOptions options;
    options.stride = stride;
    options.padding = padding;
    options.weight_init = nn::Init::kaiming_uniform(std::sqrt(2.0));
    options.bias_init = nn::Init::constant(0);
    return nn::Conv2d(in, out, kernel, options);
  };
  nn::Sequential features(layer(sample[0].value(), 64, 11, 4, 5), nn::ReLU(), nn::MaxPool2d(2),
                          layer(64, 192, 5, 1, 2), nn::ReLU(), nn::MaxPool2d(2),
                          layer(192, 384, 3, 1, 1), nn::ReLU(),  //
                          layer(384, 256, 3, 1, 1), nn::ReLU(),  //
                          layer(256, 256, 3, 1, 1), nn::ReLU(), nn::MaxPool2d(2));
  nn::Sequential net;
  net.add("features", std::move(features)).add("flatten", nn::Flatten());
  net.add("classifier", nn::Linear(256 * h * w, classes));
  return net;
}

}  // namespace tessera::models
