// A problem small enough to train in a moment, a network that has learned it, and noise images.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/rng.h"
#include "nn/schedule.h"
#include "nn/trainer.h"
#include "tests/error_of.h"

namespace tessera::test {

// 20 inputs, 4 classes: the class is the largest of 4 hidden linear scores.
class Scores final : public BatchSource {
 public:
  explicit Scores(std::int64_t n = 600) : n_(n) {}
  std::string name() const override { return "scores"; }
  std::int64_t samples() const override { return n_; }
  std::int64_t classes() const override { return 4; }
  Shape sample_shape() const override { return {20}; }
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const override {
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      const std::int64_t at = position(epoch, first + i);
      Rng rng(3, static_cast<std::uint64_t>(at)), teacher(4, 0);
      float* row = x.span<float>().data() + i * 20;
      for (int j = 0; j < 20; ++j) row[j] = rng.normal();
      float best = -1e30f;
      for (int c = 0; c < 4; ++c) {
        float score = 0;
        for (int j = 0; j < 20; ++j) score += row[j] * teacher.normal();
        if (score > best) {
          best = score;
          y.span<std::int32_t>()[static_cast<std::size_t>(i)] = c;
        }
      }
    }
  }
  void positions(std::int64_t epoch, std::int64_t first, Tensor& index) const override {
    for (std::int64_t i = 0; i < index.numel(); ++i)
      index.span<std::int32_t>()[static_cast<std::size_t>(i)] =
          static_cast<std::int32_t>(position(epoch, first + i));
  }

 private:
  // Some epochs meet samples twice: what a step does with those is defined, too.
  std::int64_t position(std::int64_t epoch, std::int64_t i) const {
    return epoch < 0 ? i : i * (7 + 6 * epoch) % samples();
  }
  std::int64_t n_;
};

inline nn::Trainer reference(std::int64_t hidden = 40) {
  auto net = std::make_shared<nn::Sequential>();
  net->add("fc1", nn::Linear(20, hidden)).add("act", nn::Tanh()).add("fc2", nn::Linear(hidden, 4));
  nn::TrainerOptions options;
  options.batch = 50;
  nn::Trainer trainer(net, {20}, 4, options);
  nn::Position position;
  for (int epoch = 0; epoch < 20; ++epoch)
    trainer.train_epoch(Scores(), position, nn::constant(0.05));
  return trainer;
}

// Small coloured noise with the label in a channel's mean.
class Noise final : public BatchSource {
 public:
  explicit Noise(std::int64_t n = 64) : n_(n) {}
  std::string name() const override { return "noise"; }
  std::int64_t samples() const override { return n_; }
  std::int64_t classes() const override { return 3; }
  Shape sample_shape() const override { return {3, 9, 8}; }
  void fill(std::int64_t, std::int64_t first, Tensor& x, Tensor& y) const override {
    const std::int64_t plane = 9 * 8;
    for (std::int64_t i = 0; i < y.numel(); ++i) {
      Rng rng(5, static_cast<std::uint64_t>(first + i));
      const auto label = static_cast<std::int32_t>((first + i) % 3);
      y.span<std::int32_t>()[static_cast<std::size_t>(i)] = label;
      float* image = x.span<float>().data() + i * 3 * plane;
      for (std::int64_t j = 0; j < 3 * plane; ++j) {
        image[j] = rng.normal() + (j / plane == label ? 1.0f : 0.2f);
      }
    }
  }

 private:
  std::int64_t n_;
};

using tessera::testing::error_of;

}  // namespace tessera::test
