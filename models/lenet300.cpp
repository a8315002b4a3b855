#include "models/lenet300.h"

#include <cmath>

#include "core/error.h"

namespace tessera::models {

Activation parse_activation(std::string_view text) {
  if (text == "tanh") return Activation::tanh;
  if (text == "relu") return Activation::relu;
  fail("activation must be tanh or relu, got '", text, "'");
}

std::string_view name(Activation activation) {
  return activation == Activation::tanh ? "tanh" : "relu";
}

nn::Sequential lenet300(Activation activation) {
  const bool tanh = activation == Activation::tanh;
  const auto weight = [&] {
    return tanh ? nn::Init::xavier_uniform() : nn::Init::kaiming_uniform(std::sqrt(2.0));
  };
  const auto layer = [&](std::int64_t in, std::int64_t out) {
    return nn::Linear(in, out, true, weight(), nn::Init::constant(0));
  };
  nn::Sequential net;
  const auto act = [&](std::string name) {
    if (tanh) {
      net.add(std::move(name), nn::Tanh());
    } else {
      net.add(std::move(name), nn::ReLU());
    }
  };
  net.add("fc1", layer(784, 300));
  act("act1");
  net.add("fc2", layer(300, 100));
  act("act2");
  net.add("fc3", layer(100, 10));
  return net;
}

}  // namespace tessera::models
