// A small problem for the trainer's tests.
#pragma once

#include <cmath>
#include <memory>

#include "core/rng.h"
#include "nn/module.h"
#include "tests/labelled.h"

namespace tessera::nn::testing {

// Two noisy spirals in the plane: no linear model can tell them apart.
class Spirals final : public tessera::testing::Labelled {
 public:
  explicit Spirals(std::int64_t n) : Labelled("spirals", n, {2}, 2) {}

 protected:
  // A stride coprime to n permutes the samples, another one every epoch.
  std::int64_t place(std::int64_t epoch, std::int64_t i) const override {
    return epoch < 0 ? i : i * (7 + 2 * epoch) % samples();
  }
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    Rng rng(9, static_cast<std::uint64_t>(at));
    const auto label = static_cast<std::int32_t>(at % 2);
    const float t = rng.uniform(0.3f, 4.0f), angle = t + 3.14159f * static_cast<float>(label);
    x[0] = t * std::cos(angle) / 4 + 0.01f * rng.normal();
    x[1] = t * std::sin(angle) / 4 + 0.01f * rng.normal();
    return label;
  }
};

inline std::shared_ptr<const Module> network(double dropout = 0) {
  auto net = std::make_shared<Sequential>();
  net->add("fc1", Linear(2, 32)).add("act1", Tanh()).add("drop", Dropout(dropout));
  net->add("fc2", Linear(32, 16)).add("act2", ReLU()).add("fc3", Linear(16, 2));
  return net;
}

}  // namespace tessera::nn::testing
