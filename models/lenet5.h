// LeNet-5 as Caffe has it (LeCun et al. 1998, with ReLU and max pooling): convolutions of 20 and 50
// 5x5 kernels, each with 2x2 max pooling, then 500 and the classes; 431,080 parameters on 28x28.
#pragma once

#include "nn/module.h"

namespace tessera::models {

// Layers conv1, conv2, fc1, fc2, initialised as in Caffe: U(-a, a), a = sqrt(3 / fan_in).
nn::Sequential lenet5(std::int64_t classes = 10, const Shape& sample = {1, 28, 28});

}  // namespace tessera::models
