// Residual networks of He et al. 2016 for ImageNet, as torchvision builds and names them: conv1,
// bn1, layer1.0.conv1, ..., layer2.0.downsample.0, ..., fc. ResNet-18 has 11,689,512 parameters.
#pragma once

#include <vector>

#include "models/blocks.h"

namespace tessera::models {

// Depth 18 or 34 (blocks of two 3x3 convolutions) or 50 (bottlenecks, stride in the 3x3). The CIFAR
// stem is one 3x3 convolution without pooling.
nn::Sequential resnet(std::int64_t depth, std::int64_t classes = 1000, Stem stem = Stem::imagenet,
                      std::int64_t channels = 3);

// The same without pooling and the last layer, in parts: the stem, then layer1 to layer4.
std::vector<Stage> resnet_stages(std::int64_t depth, Stem stem = Stem::imagenet,
                                 std::int64_t channels = 3);
// relu(body(x) + shortcut(x)) of two 3x3 convolutions; the shortcut is a 1x1 convolution where the
// shape changes.
nn::Sequential residual_block(std::int64_t in, std::int64_t out, std::int64_t stride);

}  // namespace tessera::models
