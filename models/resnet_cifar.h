// Residual networks for CIFAR (He et al. 2016, section 4.2): depth 6n + 2, three stages of 16, 32
// and 64 channels, shortcuts without parameters (option A). ResNet-20: 269,722 parameters.
#pragma once

#include "nn/module.h"

namespace tessera::models {

struct ResNetCifarOptions {
  double width = 1;  // times the channels: 2 is the "double width" of the quantization papers
  std::int64_t channels = 3;  // of the image
  // Whether a ReLU stands behind the first convolution and its batch-norm; false: the first stage
  // takes what they give, as in the code of MOCQ's authors.
  bool stem_relu = true;
};

// Names: conv1, bn1, layer1.0.conv1, layer1.0.bn1, ..., linear.
nn::Sequential resnet_cifar(std::int64_t depth, std::int64_t classes = 10,
                            const ResNetCifarOptions& options = {});

}  // namespace tessera::models
