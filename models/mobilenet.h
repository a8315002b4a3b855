// MobileNets: depthwise separable convolutions. The CIFAR stems start with stride 1 (V2: the second
// stage, too), so that 32x32 images keep some size.
#pragma once

#include "models/blocks.h"

namespace tessera::models {

// V1 (Howard et al. 2017), 4,231,976 parameters. `width` multiplies the channels. Names: model.0.0,
// model.0.1, model.1.0 ... model.13.4, fc.
nn::Sequential mobilenet_v1(std::int64_t classes = 1000, Stem stem = Stem::imagenet,
                            double width = 1, std::int64_t channels = 3);

// V2 (Sandler et al. 2018), 3,504,872 parameters, as torchvision builds and names it: features.0.0,
// ..., features.1.conv.0.0, ..., classifier.1.
nn::Sequential mobilenet_v2(std::int64_t classes = 1000, Stem stem = Stem::imagenet,
                            double width = 1, std::int64_t channels = 3);

}  // namespace tessera::models
