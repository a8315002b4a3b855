// LeNet-300-100: the multilayer perceptron 784-300-100-10 of LeCun et al. 1998, 266,200 weights and
// 410 biases. Input f32 [n, 784], output logits [n, 10].
#pragma once

#include "nn/module.h"

namespace tessera::models {

enum class Activation { tanh, relu };
// "tanh" or "relu"; throws Error on anything else.
Activation parse_activation(std::string_view text);
std::string_view name(Activation activation);

// Layers fc1, fc2, fc3. tanh starts Xavier-uniform, ReLU He-uniform, biases at zero.
nn::Sequential lenet300(Activation activation = Activation::tanh);

}  // namespace tessera::models
