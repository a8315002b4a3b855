// VGG networks with batch-norm for small images (Simonyan & Zisserman 2015; Ioffe & Szegedy 2015).
// Convolutions are 3x3 without bias; names as torchvision's: features.0, features.1, ...
#pragma once

#include "nn/module.h"

namespace tessera::models {

// The 6 convolutions (2x128, 2x256, 2x512) of the papers on binary and ternary weights, then 1024
// hidden units (classifier.0) and the classes (classifier.2).
nn::Sequential vgg_small(std::int64_t classes = 10, const Shape& sample = {3, 32, 32});
// 13 convolutions and one linear layer, `classifier`.
nn::Sequential vgg16(std::int64_t classes = 10, const Shape& sample = {3, 32, 32});

}  // namespace tessera::models
