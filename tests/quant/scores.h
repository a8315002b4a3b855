// A problem small enough to train in a moment, a network that has learned it, and noise images.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/rng.h"
#include "nn/classification.h"
#include "nn/conv.h"
#include "nn/norm.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "tests/error_of.h"
#include "tests/labelled.h"

namespace tessera::test {

// 20 inputs, 4 classes: the class is the largest of 4 hidden linear scores.
class Scores final : public testing::Labelled {
 public:
  explicit Scores(std::int64_t n = 600) : Labelled("scores", n, {20}, 4) {}

 protected:
  // Some epochs meet samples twice: what a step does with those is defined, too.
  std::int64_t place(std::int64_t epoch, std::int64_t i) const override {
    return epoch < 0 ? i : i * (7 + 6 * epoch) % samples();
  }
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    Rng rng(3, static_cast<std::uint64_t>(at)), teacher(4, 0);
    for (float& v : x) v = rng.normal();
    float best = -1e30f;
    std::int32_t label = 0;
    for (std::int32_t c = 0; c < 4; ++c) {
      float score = 0;
      for (const float v : x) score += v * teacher.normal();
      if (score > best) {
        best = score;
        label = c;
      }
    }
    return label;
  }
};

inline nn::Trainer reference(std::int64_t hidden = 40) {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, hidden)).add("act", nn::Tanh()).add("fc2", nn::Linear(hidden, 4));
  nn::TrainerOptions options;
  options.batch = 50;
  nn::Trainer trainer = nn::classifier(net, {20}, 4, options);
  nn::Position position;
  for (int epoch = 0; epoch < 20; ++epoch)
    trainer.train_epoch(Scores(), position, nn::constant(0.05));
  return trainer;
}

// Small coloured noise with the label in a channel's mean.
class Noise final : public testing::Labelled {
 public:
  explicit Noise(std::int64_t n = 64) : Labelled("noise", n, {3, 9, 8}, 3) {}

 protected:
  std::int32_t make(std::int64_t at, std::span<float> x) const override {
    const std::size_t plane = 9 * 8;
    Rng rng(5, static_cast<std::uint64_t>(at));
    const auto label = static_cast<std::int32_t>(at % 3);
    for (std::size_t j = 0; j < x.size(); ++j) {
      x[j] = rng.normal() + (j / plane == static_cast<std::size_t>(label) ? 1.0f : 0.2f);
    }
    return label;
  }
};

// For it: strides, padding, groups, a residual, batch norm; small weights that need every trick.
inline std::shared_ptr<nn::Sequential> noise_network() {
  auto net = std::make_shared<nn::Sequential>();
  net->add("conv1", nn::Conv2d(3, 8, {3, 3}, {.stride = {2, 1}, .padding = {1, 0}, .bias = false}));
  net->add("bn1", nn::BatchNorm2d(8)).add("act1", nn::ReLU());
  net->add(
      "block",
      nn::Residual(nn::Sequential(nn::Conv2d(8, 8, {3, 3}, {.padding = {1, 1}, .groups = 8}))));
  net->add("point", nn::Conv2d(8, 6, {1, 1}, {.groups = 2})).add("act2", nn::ReLU());
  net->add("flat", nn::Flatten()).add("fc", nn::Linear(6 * 5 * 6, 3));
  return net;
}

using tessera::testing::error_of;

}  // namespace tessera::test
