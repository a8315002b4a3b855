// Codebooks with a free scale against every assignment, or every scale.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "core/error.h"
#include "quant/fit/scale.h"
#include "tests/quant/fit/problems.h"

namespace tessera::quant {
namespace {

using test::Data;
using test::expect_sound;
using test::Floats;
using test::h_at;
using test::magnitude;
using test::make_importance;
using test::make_weights;
using test::rounding;

// Calls visit(assignment) for all size^n assignments.
void all_assignments(std::size_t n, int size,
                     const std::function<void(const std::vector<int>&)>& visit) {
  std::vector<int> assignment(n, 0);
  while (true) {
    visit(assignment);
    std::size_t i = 0;
    while (i < n && ++assignment[i] == size) assignment[i++] = 0;
    if (i == n) return;
  }
}

// Least error of a codebook with a free non-negative scale, over every assignment.
double brute_scaled(const Floats& weights, const Floats& importance, const Floats& entries) {
  double best = magnitude(weights, importance);
  all_assignments(weights.size(), static_cast<int>(entries.size()), [&](const std::vector<int>& z) {
    double cross = 0, square = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const double h = h_at(importance, i), c = entries[z[i]];
      cross += h * weights[i] * c;
      square += h * c * c;
    }
    if (cross > 0 && square > 0)
      best = std::min(best, magnitude(weights, importance) - cross * cross / square);
  });
  return best;
}

// The same for larger inputs: the assignment at a scale inside every interval between breakpoints.
double sweep_scaled(const Floats& weights, const Floats& importance, const Floats& entries) {
  std::vector<double> breaks{0};
  for (const float w : weights) {
    for (std::size_t k = 0; k + 1 < entries.size(); ++k) {
      const double at = 2.0 * w / (static_cast<double>(entries[k]) + entries[k + 1]);
      if (std::isfinite(at) && at > 0) breaks.push_back(at);
    }
  }
  std::sort(breaks.begin(), breaks.end());
  breaks.push_back(2 * breaks.back() + 1);
  double best_gain = 0;
  for (std::size_t b = 0; b + 1 < breaks.size(); ++b) {
    const double a = 0.5 * (breaks[b] + breaks[b + 1]);
    double cross = 0, square = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const auto nearer = [&](float x, float y) {
        return std::abs(weights[i] - a * x) < std::abs(weights[i] - a * y);
      };
      const double c = *std::min_element(entries.begin(), entries.end(), nearer);
      const double h = h_at(importance, i);
      cross += h * weights[i] * c;
      square += h * c * c;
    }
    if (cross > 0 && square > 0) best_gain = std::max(best_gain, cross * cross / square);
  }
  return magnitude(weights, importance) - best_gain;
}

// Of a scaled codebook: rounding its entries one by one is a first-order error.
double scaled_rounding(const Floats& weights, const Floats& importance, double error) {
  return 1.2e-7 * std::sqrt(std::max(error, 0.0) * magnitude(weights, importance)) +
         rounding(weights, importance);
}

// Error of the codebook at the scale that best_scale finds, in f64.
double best_scale_error(const Floats& weights, const Floats& importance, const Floats& entries) {
  const double scale = best_scale(SortedWeights(weights, importance), entries);
  double error = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const float c : entries) least = std::min(least, std::pow(weights[i] - scale * c, 2));
    error += h_at(importance, i) * least;
  }
  return error;
}

TEST(Scaled, MatchesAllAssignments) {
  std::mt19937 random(10);
  const std::vector<Floats> codebooks{{-1, 1}, {-1, 0, 1}, {-2, -1, 0, 1}, {-1, -.5, .5, 1},
                                      {1, 2},  {0},        {-1, .25},      {-3, -1}};
  for (int round = 0; round < 240; ++round) {
    const Floats& entries = codebooks[round % codebooks.size()];
    const std::size_t n = 1 + random() % (entries.size() > 3 ? 5 : 7);
    const auto data = static_cast<Data>(random() % static_cast<unsigned>(Data::kCount));
    Floats weights = make_weights(n, data, random);
    if (round % 5 == 0) weights[0] = 0;
    Floats importance;
    if (round % 2) importance = make_importance(n, random);
    const CodebookFit got = fit(CodebookSpec::scaled(entries), weights, importance);
    if (magnitude(weights, importance) == 0) continue;
    expect_sound(got, weights, importance);
    const double expected = brute_scaled(weights, importance, entries);
    const double tolerance = 1e-9 * expected + rounding(weights, importance);
    EXPECT_NEAR(got.error, expected, scaled_rounding(weights, importance, expected))
        << CodebookSpec::scaled(entries).text() << " round " << round;
    EXPECT_NEAR(best_scale_error(weights, importance, entries), expected, tolerance);
    for (std::size_t k = 0; k < entries.size(); ++k)
      EXPECT_NEAR(got.entries[k], got.scale * entries[k], 1e-6 * std::abs(got.entries[k]));
  }
}

TEST(Scaled, MatchesSweepOnLargerInputs) {
  std::mt19937 random(11);
  const std::vector<Floats> codebooks{{-1, 0, 1},
                                      {-2, -1, 0, 1},
                                      {-1, -.5, -.25, 0, .25, .5, 1},
                                      {-7, -3, -1, 0, 2, 4, 8},
                                      {1, 3, 4}};
  for (int round = 0; round < 60; ++round) {
    const Floats& entries = codebooks[round % codebooks.size()];
    const std::size_t n = 200 + random() % 300;
    const auto data = static_cast<Data>(random() % static_cast<unsigned>(Data::kCount));
    const Floats weights = make_weights(n, data, random);
    Floats importance;
    if (round % 2) importance = make_importance(n, random);
    const CodebookFit got = fit(CodebookSpec::scaled(entries), weights, importance);
    const double expected = sweep_scaled(weights, importance, entries);
    EXPECT_NEAR(got.error, expected, scaled_rounding(weights, importance, expected))
        << CodebookSpec::scaled(entries).text() << " data " << static_cast<int>(data);
    EXPECT_NEAR(best_scale_error(weights, importance, entries), expected,
                1e-9 * expected + rounding(weights, importance));
  }
}

TEST(Scaled, BinaryAndTernaryClosedForms) {
  std::mt19937 random(12);
  for (int round = 0; round < 40; ++round) {
    const Floats weights = make_weights(1000, Data::kNormal, random);
    Floats importance(1000, 1.0f);
    if (round % 2) importance = make_importance(1000, random);
    double sum = 0, mass = 0;
    std::vector<std::pair<double, double>> sizes;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      sum += importance[i] * std::abs(weights[i]);
      mass += importance[i];
      sizes.emplace_back(std::abs(weights[i]), importance[i]);
    }
    const Floats given = round % 2 ? importance : Floats{};
    EXPECT_NEAR(fit(CodebookSpec::scaled_binary(), weights, given).scale, sum / mass, 1e-7);
    // Largest j: max (sum_{i<=j} h|w|)^2 / sum_{i<=j} h, a = their weighted mean.
    std::sort(sizes.rbegin(), sizes.rend());
    double top = 0, top_mass = 0, gain = 0, scale = 0;
    for (const auto& [size, h] : sizes) {
      top += h * size;
      top_mass += h;
      if (top_mass > 0 && top * top / top_mass > gain)
        gain = top * top / top_mass, scale = top / top_mass;
    }
    const CodebookFit ternary = fit(CodebookSpec::scaled_ternary(), weights, given);
    EXPECT_NEAR(ternary.scale, scale, 1e-6 * scale);
    EXPECT_NEAR(ternary.error, magnitude(weights, given) - gain, 1e-9 * gain);
  }
}

TEST(Scaled, NothingToGain) {
  const CodebookFit negative = fit(CodebookSpec::scaled({1, 2}), Floats{-1, -2});
  EXPECT_EQ(negative.scale, 0);
  EXPECT_EQ(negative.error, 5);
  for (const char* text : {"binary-scaled", "ternary-scaled", "scaled:-2,-1,0,1"}) {
    const CodebookFit zero = fit(CodebookSpec::parse(text), Floats{0, 0, 0});
    EXPECT_EQ(zero.scale, 0);
    EXPECT_EQ(zero.error, 0);
  }
}

}  // namespace
}  // namespace tessera::quant
