// Weights that fits trip over, and what must hold for any fit.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quant/fit/fit.h"

namespace tessera::test {

using quant::CodebookFit;

using Floats = std::vector<float>;

// Shapes of data that fits trip over.
enum class Data {
  kNormal,
  kHeavyTails,
  kDuplicates,
  kClusters,
  kNegative,
  kOffset,
  kUniform,
  kCount
};

inline Floats make_weights(std::size_t n, Data data, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  Floats weights(n);
  for (float& w : weights) {
    switch (data) {
      case Data::kHeavyTails:
        w = std::exp(3 * normal(random)) * (random() % 2 ? 1 : -1);
        break;
      case Data::kDuplicates:
        w = 0.25f * static_cast<float>(random() % 9) - 1;
        break;
      case Data::kClusters:
        w = static_cast<float>(random() % 5) + 0.01f * normal(random);
        break;
      case Data::kNegative:
        w = -1 - std::abs(normal(random));
        break;
      case Data::kOffset:
        w = 1000 + normal(random);
        break;
      case Data::kUniform:
        w = uniform(random);
        break;
      default:
        w = 0.05f * normal(random);
    }
  }
  return weights;
}

inline Floats make_importance(std::size_t n, std::mt19937& random) {
  Floats importance(n);
  for (float& h : importance)
    h = random() % 5 == 0 ? 0.0f : std::exp(std::normal_distribution<float>(0, 1.5f)(random));
  return importance;
}

inline double h_at(const Floats& importance, std::size_t i) {
  return importance.empty() ? 1.0 : importance[i];
}

// sum h (w - nearest entry)^2 by trying every entry.
inline double nearest_error(const Floats& weights, const Floats& importance,
                            const Floats& entries) {
  double error = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const float c : entries)
      least = std::min(least, std::pow(static_cast<double>(weights[i]) - c, 2));
    error += h_at(importance, i) * least;
  }
  return error;
}

inline double magnitude(const Floats& weights, const Floats& importance) {
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    sum += h_at(importance, i) * weights[i] * weights[i];
  return sum;
}

// What must hold for any fit: sizes, order, nearest indices, the error it says it has.
inline void expect_sound(const CodebookFit& fit, const Floats& weights, const Floats& importance) {
  ASSERT_EQ(fit.indices.size(), weights.size());
  ASSERT_FALSE(fit.entries.empty());
  EXPECT_TRUE(std::is_sorted(fit.entries.begin(), fit.entries.end()));
  double error = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    ASSERT_LT(fit.indices[i], fit.entries.size());
    const double miss = static_cast<double>(weights[i]) - fit.entries[fit.indices[i]];
    error += h_at(importance, i) * miss * miss;
  }
  const double tolerance = 1e-10 * error + 1e-300;
  EXPECT_NEAR(fit.error, error, tolerance);
  EXPECT_NEAR(nearest_error(weights, importance, fit.entries), error, tolerance);
}

// Rounding the entries to f32 moves each by half an ulp: the error by about 1e-14 of the weights.
inline double rounding(const Floats& weights, const Floats& importance) {
  return 4e-14 * magnitude(weights, importance) + 1e-300;
}

}  // namespace tessera::test
