#include "models/blocks.h"

#include <algorithm>
#include <cmath>

namespace tessera::models {

nn::Conv2d conv(const ConvShape& shape) {
  nn::Conv2dOptions options;
  options.stride = shape.stride;
  options.padding = shape.padding;
  options.groups = shape.groups;
  options.bias = false;
  options.weight_init = nn::Init::kaiming_normal(std::sqrt(2.0), nn::Init::Fan::out);
  return nn::Conv2d(shape.in, shape.out, shape.kernel, options);
}

nn::Size2d image_size(const char* network, const Shape& sample) {
  check(sample.rank() == 3 && !sample.is_symbolic(), network,
        " takes images [channels,height,width], got ", sample.text());
  return {sample[1].value(), sample[2].value()};
}

std::int64_t scaled_channels(std::int64_t n, double width, std::int64_t divisor) {
  check(std::isfinite(width) && width > 0 && width <= 64,
        "the width multiplier must be above 0 and at most 64, got ", width);
  const double exact = static_cast<double>(n) * width;
  std::int64_t out =
      std::max(divisor, static_cast<std::int64_t>(exact + static_cast<double>(divisor) / 2) /
                            divisor * divisor);
  if (static_cast<double>(out) < 0.9 * exact) out += divisor;
  return out;
}

}  // namespace tessera::models
