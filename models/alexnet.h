// AlexNet (Krizhevsky et al. 2012) in the form that is used on CIFAR: five convolutions, three 2x2
// max pools and one linear layer. Names as torchvision's: features.0 ... features.10, classifier.
#pragma once

#include "nn/module.h"

namespace tessera::models {

nn::Sequential alexnet_cifar(std::int64_t classes = 10, const Shape& sample = {3, 32, 32});

}  // namespace tessera::models
