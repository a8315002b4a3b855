#include "models/resnet_cifar.h"

#include <array>
#include <cmath>

#include "models/blocks.h"
#include "ops/build.h"

namespace tessera::models {

namespace {

// Every second row and column, and as many channels of zeros on either side.
class Subsample final : public nn::Module {
 public:
  explicit Subsample(std::int64_t more_channels) : more_(more_channels) {}
  Value forward(nn::Scope&, Value x) const override {
    for (const int axis : {2, 3}) x = ops::slice(x, axis, 0, x.shape()[axis].value(), 2);
    return ops::pad(x, 1, more_ / 2, more_ - more_ / 2);
  }

 private:
  std::int64_t more_;
};

nn::Sequential block(std::int64_t in, std::int64_t out, std::int64_t stride) {
  nn::Sequential body;
  body.add("conv1", conv({.in = in, .out = out, .kernel = 3, .stride = stride, .padding = 1}));
  body.add("bn1", nn::BatchNorm2d(out)).add("relu1", nn::ReLU());
  body.add("conv2", conv({.in = out, .out = out, .kernel = 3, .padding = 1}));
  body.add("bn2", nn::BatchNorm2d(out));
  nn::Sequential sum;
  if (stride == 1) {
    sum.add("", nn::Residual(std::move(body)));
  } else {
    sum.add("", nn::Residual(std::move(body), "shortcut", Subsample(out - in)));
  }
  sum.add("relu2", nn::ReLU());
  return sum;
}

}  // namespace

nn::Sequential resnet_cifar(std::int64_t depth, std::int64_t classes,
                            const ResNetCifarOptions& options) {
  check(depth >= 8 && (depth - 2) % 6 == 0, "a CIFAR ResNet has depth 6n + 2, got ", depth);
  std::array<std::int64_t, 3> planes = {16, 32, 64};
  for (auto& n : planes) n = scaled_channels(n, options.width, 2);
  nn::Sequential net;
  net.add("conv1", conv({.in = options.channels, .out = planes[0], .kernel = 3, .padding = 1}));
  net.add("bn1", nn::BatchNorm2d(planes[0]));
  if (options.stem_relu) net.add("relu1", nn::ReLU());
  std::int64_t in = planes[0];
  for (std::size_t stage = 0; stage < planes.size(); ++stage) {
    nn::Sequential layer;
    for (std::int64_t i = 0; i < (depth - 2) / 6; ++i) {
      layer.add(std::to_string(i), block(in, planes[stage], stage > 0 && i == 0 ? 2 : 1));
      in = planes[stage];
    }
    net.add("layer" + std::to_string(stage + 1), std::move(layer));
  }
  net.add("pool", nn::GlobalAvgPool2d());
  net.add("linear", nn::Linear(in, classes, true, nn::Init::kaiming_normal(std::sqrt(2.0)),
                               nn::Init::constant(0)));
  return net;
}

}  // namespace tessera::models
