// SqueezeNet v1.0 (Iandola et al. 2016) in its Caffe layout: 3x3 max pools of stride 2 in ceil
// mode, a 1x1 convolution with padding 1 as the classifier, ReLU and the mean over positions last.
// 1,248,424 parameters; meant for 227x227.
#pragma once

#include "nn/module.h"

namespace tessera::models {

// Names: conv1, fire2.squeeze1x1, fire2.expand1x1, fire2.expand3x3, ..., fire9.expand3x3, conv10.
nn::Sequential squeezenet(std::int64_t classes = 1000, std::int64_t channels = 3);

}  // namespace tessera::models
