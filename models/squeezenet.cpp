#include "models/squeezenet.h"

#include "models/blocks.h"

namespace tessera::models {

namespace {

nn::Conv2d layer(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                 std::int64_t padding) {
  nn::Conv2dOptions options;
  options.stride = stride;
  options.padding = padding;
  options.weight_init = nn::Init::kaiming_uniform(1);  // Caffe's "xavier"
  options.bias_init = nn::Init::constant(0);
  return nn::Conv2d(in, out, kernel, options);
}

nn::Sequential fire(std::int64_t in, std::int64_t squeeze, std::int64_t expand) {
  nn::Concat expansion;
  expansion.add("expand1x1", layer(squeeze, expand, 1, 1, 0));
  expansion.add("expand3x3", layer(squeeze, expand, 3, 1, 1));
  nn::Sequential out;
  out.add("squeeze1x1", layer(in, squeeze, 1, 1, 0)).add("relu1", nn::ReLU());
  out.add("", std::move(expansion)).add("relu2", nn::ReLU());
  return out;
}

}  // namespace

nn::Sequential squeezenet(std::int64_t classes, std::int64_t channels) {
  const nn::MaxPool2d pool(3, {.stride = 2, .ceil = true});
  nn::Sequential net;
  net.add("conv1", layer(channels, 96, 7, 2, 0)).add("relu1", nn::ReLU()).add("pool1", pool);
  net.add("fire2", fire(96, 16, 64)).add("fire3", fire(128, 16, 64));
  net.add("fire4", fire(128, 32, 128)).add("pool4", pool);
  net.add("fire5", fire(256, 32, 128)).add("fire6", fire(256, 48, 192));
  net.add("fire7", fire(384, 48, 192)).add("fire8", fire(384, 64, 256)).add("pool8", pool);
  net.add("fire9", fire(512, 64, 256)).add("drop9", nn::Dropout(0.5));
  nn::Conv2dOptions last;
  last.padding = 1;
  last.weight_init = nn::Init::normal(0.01f);
  last.bias_init = nn::Init::constant(0);
  net.add("conv10", nn::Conv2d(512, classes, 1, last)).add("relu10", nn::ReLU());
  net.add("pool10", nn::GlobalAvgPool2d());
  return net;
}

}  // namespace tessera::models
