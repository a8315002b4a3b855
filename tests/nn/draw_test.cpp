#include "nn/draw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tessera::nn {
namespace {

TEST(Draw, FollowsTheSoftmaxAtItsTemperature) {
  const std::vector<float> logits = {1, 3, 2};
  for (const double temperature : {0.5, 1.0, 2.0}) {
    std::vector<double> share(3), expected(3);
    double sum = 0;
    for (std::size_t i = 0; i < 3; ++i) sum += expected[i] = std::exp(logits[i] / temperature);
    Rng rng(1, 2);
    constexpr int kDraws = 40000;
    for (int i = 0; i < kDraws; ++i)
      share[static_cast<std::size_t>(draw(logits, rng, temperature))] += 1.0 / kDraws;
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(share[i], expected[i] / sum, 0.01);
  }
  Rng rng(1, 2);
  EXPECT_EQ(draw(logits, rng, 0), 1);
  EXPECT_EQ(draw(std::vector<float>{5, 5}, rng, 0), 0);
  EXPECT_EQ(draw(std::vector<float>{0, std::numeric_limits<float>::infinity()}, rng), -1);
  EXPECT_EQ(draw(std::vector<float>{0, std::nanf("")}, rng), -1);
}

}  // namespace
}  // namespace tessera::nn
