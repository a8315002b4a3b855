// A small problem for the trainer's tests.
#pragma once

#include <cmath>
#include <memory>

#include "core/batch_source.h"
#include "core/rng.h"
#include "nn/module.h"

namespace tessera::nn::testing {

// Two noisy spirals in the plane: no linear model can tell them apart.
class Spirals final : public BatchSource {
 public:
  explicit Spirals(std::int64_t n) : n_(n) {}
  std::string name() const override { return "spirals"; }
  std::int64_t samples() const override { return n_; }
  std::int64_t classes() const override { return 2; }
  Shape sample_shape() const override { return {2}; }
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const override {
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      // A stride coprime to n permutes the samples, another one every epoch.
      const std::int64_t at = epoch < 0 ? first + i : (first + i) * (7 + 2 * epoch) % n_;
      Rng rng(9, static_cast<std::uint64_t>(at));
      const int label = static_cast<int>(at % 2);
      const float t = rng.uniform(0.3f, 4.0f), angle = t + 3.14159f * static_cast<float>(label);
      x.span<float>()[static_cast<std::size_t>(2 * i)] =
          t * std::cos(angle) / 4 + 0.01f * rng.normal();
      x.span<float>()[static_cast<std::size_t>(2 * i + 1)] =
          t * std::sin(angle) / 4 + 0.01f * rng.normal();
      y.span<std::int32_t>()[static_cast<std::size_t>(i)] = label;
    }
  }

 private:
  std::int64_t n_;
};

inline std::shared_ptr<const Module> network(double dropout = 0) {
  auto net = std::make_shared<Sequential>();
  net->add("fc1", Linear(2, 32)).add("act1", Tanh()).add("drop", Dropout(dropout));
  net->add("fc2", Linear(32, 16)).add("act2", ReLU()).add("fc3", Linear(16, 2));
  return net;
}

}  // namespace tessera::nn::testing
