#include "models/lenet5.h"

#include "models/blocks.h"

namespace tessera::models {

nn::Sequential lenet5(std::int64_t classes, const Shape& sample) {
  const nn::Size2d size = image_size("lenet5", sample);
  const std::int64_t h = ((size.height - 4) / 2 - 4) / 2, w = ((size.width - 4) / 2 - 4) / 2;
  check(h >= 1 && w >= 1, "lenet5 needs images of 16x16 or more, got ", sample.text());
  const nn::Init xavier = nn::Init::kaiming_uniform(1), zero = nn::Init::constant(0);
  nn::Conv2dOptions options;
  options.weight_init = xavier;
  options.bias_init = zero;
  nn::Sequential net;
  net.add("conv1", nn::Conv2d(sample[0].value(), 20, 5, options)).add("pool1", nn::MaxPool2d(2));
  net.add("conv2", nn::Conv2d(20, 50, 5, options)).add("pool2", nn::MaxPool2d(2));
  net.add("flatten", nn::Flatten());
  net.add("fc1", nn::Linear(50 * h * w, 500, true, xavier, zero)).add("act1", nn::ReLU());
  net.add("fc2", nn::Linear(500, classes, true, xavier, zero));
  return net;
}

}  // namespace tessera::models
