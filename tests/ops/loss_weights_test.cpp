// Weights of losses against slower ways to the same: coordinate descent for the quadratic programs,
// vectors for what is defined on vectors, a sweep over all directions for CAGrad.
#include "ops/weighting/loss_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "ops/op_list.h"
#include "ops/weighting/gramian_weights.h"

namespace tessera {
namespace {

using Vector = std::vector<double>;
using Vectors = std::vector<Vector>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double length(const Vector& v) {
  return std::sqrt(dot(v, v));
}

LossMatrix gramian(const Vectors& g) {
  LossMatrix out;
  out.k = static_cast<int>(g.size());
  for (int i = 0; i < out.k; ++i) {
    for (int j = 0; j < out.k; ++j)
      out(i, j) = dot(g[static_cast<std::size_t>(i)], g[static_cast<std::size_t>(j)]);
  }
  return out;
}

Vector combined(const Vectors& g, const LossVector& w) {
  Vector out(g[0].size());
  for (std::size_t i = 0; i < g.size(); ++i) {
    for (std::size_t d = 0; d < out.size(); ++d) out[d] += w[i] * g[i][d];
  }
  return out;
}

Vectors random_gradients(Rng& rng, std::size_t k, std::size_t dimensions) {
  Vectors out(k, Vector(dimensions));
  for (Vector& g : out) {
    const double size = std::exp(rng.uniform(-4, 4));  // losses differ by orders of magnitude
    for (double& v : g) v = size * rng.normal();
  }
  return out;
}

LossVector ones(double value = 1) {
  LossVector out = {};
  out.fill(value);
  return out;
}

LossVector weights(GramianRule how, const Vectors& g, const LossVector& p = ones(),
                   const LossMatrix& order = {}, double c = 0.5) {
  return loss_weights(how, gramian(g), p, order, c);
}

// argmin over x >= low of x'Gx / 2 by cyclic coordinate descent.
Vector above(const LossMatrix& g, const Vector& low) {
  Vector x = low;
  for (int sweep = 0; sweep < 20000; ++sweep) {
    for (int i = 0; i < g.k; ++i) {
      double slope = 0;
      for (int j = 0; j < g.k; ++j) slope += g(i, j) * x[static_cast<std::size_t>(j)];
      double& at = x[static_cast<std::size_t>(i)];
      at = std::max(low[static_cast<std::size_t>(i)], at - slope / g(i, i));
    }
  }
  return x;
}

void expect_near(const Vector& got, const Vector& wanted, double tolerance) {
  double scale = 0;
  for (const double v : wanted) scale = std::max(scale, std::abs(v));
  for (std::size_t i = 0; i < wanted.size(); ++i)
    EXPECT_NEAR(got[i], wanted[i], tolerance * (scale + 1e-12)) << i;
}

TEST(LossWeights, MgdaIsTheShortestConvexCombination) {
  Rng rng(1, 0);
  for (int round = 0; round < 300; ++round) {
    const std::size_t k = 2 + static_cast<std::size_t>(round) % 4;
    const Vectors g = random_gradients(rng, k, 6);
    LossVector p = ones();
    for (std::size_t i = 0; i < k; ++i) p[i] = rng.uniform(0.5, 2);
    const LossVector w = weights(GramianRule::mgda, g, p);
    const Vector least = combined(g, w);
    double shares = 0;
    for (std::size_t i = 0; i < k; ++i) {
      EXPECT_GE(w[i], 0);
      shares += w[i] / p[i];
      // What is optimal: no p_i g_i lies before the plane through the point.
      const double scale = p[i] * length(g[i]) * length(least);
      EXPECT_GE(p[i] * dot(g[i], least), dot(least, least) - 1e-5 * scale) << round;
    }
    EXPECT_NEAR(shares, 1, 1e-9);
  }
}

TEST(LossWeights, OfTwoOpposingGradientsMgdaIsTheClosedForm) {
  const Vectors g = {{3, 0}, {-1, 1}};
  // a = (g2 - g1).g2 / |g1 - g2|^2
  const double a = (-4.0 * -1 + 1) / (16 + 1);
  const LossVector w = weights(GramianRule::mgda, g);
  EXPECT_NEAR(w[0], a, 1e-6);
  EXPECT_NEAR(w[1], 1 - a, 1e-6);
  // One that is shorter than any mixture stands alone.
  EXPECT_NEAR(weights(GramianRule::mgda, {{3, 0}, {1, 1}})[0], 0, 1e-6);
}

TEST(LossWeights, ProjectionsIntoTheDualConeAreTheQuadraticProgramsSolutions) {
  Rng rng(2, 0);
  for (int round = 0; round < 60; ++round) {
    const std::size_t k = 2 + static_cast<std::size_t>(round) % 2;
    const Vectors g = random_gradients(rng, k, 5);
    const LossMatrix gram = gramian(g);
    Vector sum(k), p(k);
    LossVector preference = ones();
    for (std::size_t i = 0; i < k; ++i) preference[i] = p[i] = rng.uniform(0.5, 2);
    for (std::size_t i = 0; i < k; ++i) {
      Vector low(k, 0.0);
      low[i] = p[i];
      const Vector x = above(gram, low);
      for (std::size_t j = 0; j < k; ++j) sum[j] += x[j];
    }
    LossVector reference = {};
    std::copy(sum.begin(), sum.end(), reference.begin());
    expect_near(combined(g, weights(GramianRule::upgrad, g, preference)), combined(g, reference),
                1e-4);
    const Vector x = above(gram, p);
    std::copy(x.begin(), x.end(), reference.begin());
    expect_near(combined(g, weights(GramianRule::dualproj, g, preference)), combined(g, reference),
                1e-4);
  }
}

TEST(LossWeights, WithoutConflictProjectionsAreTheWeightedSum) {
  const Vectors g = {{1, 0.5, 0}, {2, 1, 1}, {0.1, 0, 3}};
  const LossVector p = {0.5, 2, 1};
  for (const GramianRule how : {GramianRule::upgrad, GramianRule::dualproj, GramianRule::pcgrad}) {
    LossMatrix order;
    order.k = 3;
    const LossVector w = weights(how, g, p, order);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(w[i], p[i], 1e-6);
  }
}

TEST(LossWeights, NoLossRisesAlongAProjection) {
  Rng rng(3, 0);
  for (int round = 0; round < 500; ++round) {
    const Vectors g = random_gradients(rng, 2 + static_cast<std::size_t>(round) % 6, 9);
    for (const GramianRule how : {GramianRule::mgda, GramianRule::upgrad, GramianRule::dualproj}) {
      const LossVector w = weights(how, g);
      const Vector d = combined(g, w);
      double scale = 0;
      for (std::size_t i = 0; i < g.size(); ++i) scale += w[i] * length(g[i]);
      for (const Vector& each : g) EXPECT_GE(dot(each, d), -1e-5 * scale * length(each)) << round;
    }
  }
}

TEST(LossWeights, PcgradTakesOffWhatOpposesInTheOrderDrawn) {
  Rng rng(4, 0);
  for (int round = 0; round < 100; ++round) {
    const std::size_t k = 2 + static_cast<std::size_t>(round) % 4;
    const Vectors g = random_gradients(rng, k, 4);
    LossMatrix order;
    order.k = static_cast<int>(k);
    for (double& v : order.v) v = rng.uniform();
    Vector wanted(4, 0.0);
    for (std::size_t i = 0; i < k; ++i) {
      Vector mine = g[i];
      std::vector<std::size_t> others;
      for (std::size_t j = 0; j < k; ++j) others.push_back(j);
      std::sort(others.begin(), others.end(), [&](std::size_t a, std::size_t b) {
        return order.v[i * k + a] < order.v[i * k + b];
      });
      for (const std::size_t j : others) {
        const double along = dot(mine, g[j]);
        if (j == i || along >= 0) continue;
        for (std::size_t d = 0; d < 4; ++d) mine[d] -= along / dot(g[j], g[j]) * g[j][d];
      }
      for (std::size_t d = 0; d < 4; ++d) wanted[d] += mine[d];
    }
    expect_near(combined(g, weights(GramianRule::pcgrad, g, ones(), order)), wanted, 1e-5);
  }
}

// In a plane, over all directions within the ball: the one in which the worst loss gains most.
TEST(LossWeights, CagradIsTheBestForTheWorstNearTheSum) {
  Rng rng(5, 0);
  for (int round = 0; round < 60; ++round) {
    const std::size_t k = 2 + static_cast<std::size_t>(round) % 3;
    Vectors g(k, Vector(2));
    for (Vector& each : g) each = {rng.normal(), rng.normal()};
    const double c = 0.2 + 0.1 * (round % 7);
    const Vector sum = combined(g, ones());
    const double reach = c * std::sqrt(dot(sum, sum));
    const auto worst = [&](const Vector& d) {
      double least = 1e300;
      for (const Vector& each : g) least = std::min(least, dot(each, d));
      return least;
    };
    double best = worst(sum);
    for (int i = 0; i < 200000; ++i) {
      const double angle = i * std::numbers::pi / 100000;
      best = std::max(best,
                      worst({sum[0] + reach * std::cos(angle), sum[1] + reach * std::sin(angle)}));
    }
    const Vector d = combined(g, weights(GramianRule::cagrad, g, ones(), {}, c));
    EXPECT_NEAR(worst(d), best, 1e-4 * (1 + std::abs(best))) << round;
    EXPECT_LE(std::hypot(d[0] - sum[0], d[1] - sum[1]), reach * (1 + 1e-4)) << round;
  }
}

// Inner products as f32 knows them: of gradients that are opposite, or alike, no more is asked than
// their lengths allow.
TEST(LossWeights, RoundingOfParallelGradientsIsHarmless) {
  for (const double along : {-1.0, 1.0}) {
    for (const double off : {-1e-5, -1e-7, 0.0, 1e-7, 1e-6, 1e-5}) {
      for (const double size : {1e-3, 1.0, 40.0}) {
        LossMatrix g, order;
        g.k = order.k = 2;
        g(0, 0) = 1;
        g(1, 1) = size * size;
        g(0, 1) = g(1, 0) = along * size * (1 + off);
        for (const GramianRule how : {GramianRule::mgda, GramianRule::upgrad, GramianRule::dualproj,
                                      GramianRule::pcgrad, GramianRule::cagrad}) {
          const LossVector w = loss_weights(how, g, ones(), order, 0.5);
          const double step = std::abs(w[0] + along * size * w[1]);
          EXPECT_LE(step, 1.5 * (1 + size) + 1e-3) << gramian_rules().name(how) << " " << off;
          EXPECT_LE(std::abs(w[0]) + size * std::abs(w[1]), 3 * (1 + size))
              << gramian_rules().name(how) << " " << off;
        }
      }
    }
  }
}

// Two that cancel out, and one besides: all that can be had is that no loss rises.
TEST(LossWeights, CagradLeavesTheSumWhereThatServesTheWorst) {
  const Vectors g = {{1, 0}, {-0.9, 0}, {0, 1}};
  const Vector d = combined(g, weights(GramianRule::cagrad, g));
  for (const Vector& each : g) EXPECT_GE(dot(each, d), -2e-3);
}

TEST(LossWeights, CagradTakesPreferencesIntoTheSum) {
  const Vectors g = {{1, 0.2}, {-0.3, 1}};
  const LossVector p = {2, 0.5};
  const Vector sum = combined(g, p), d = combined(g, weights(GramianRule::cagrad, g, p));
  EXPECT_NEAR(std::hypot(d[0] - sum[0], d[1] - sum[1]), 0.5 * length(sum), 1e-4);
}

TEST(LossWeights, ALossWithoutAGradientKeepsItsPreferenceAndHasNoPart) {
  const Vectors g = {{1, 1}, {0, 0}, {-1, 0.5}};
  for (const GramianRule how : {GramianRule::mgda, GramianRule::upgrad, GramianRule::dualproj,
                                GramianRule::pcgrad, GramianRule::cagrad}) {
    LossMatrix order;
    order.k = 3;
    const LossVector w = weights(how, g, {1, 7, 1}, order), alone = weights(how, {g[0], g[2]});
    EXPECT_EQ(w[1], 7);
    if (how == GramianRule::pcgrad) continue;  // of two alone the order would be another matrix
    EXPECT_NEAR(w[0], alone[0], 1e-12);
    EXPECT_NEAR(w[2], alone[1], 1e-12);
  }
}

TEST(LossWeights, WhatIsNotFiniteIsSeen) {
  LossMatrix g;
  g.k = 2;
  g(0, 0) = g(1, 1) = 1;
  g(0, 1) = g(1, 0) = std::nan("");
  EXPECT_TRUE(std::isnan(loss_weights(GramianRule::upgrad, g, ones(), {}, 0.5)[0]));
}

TEST(LossWeights, TheOpSaysWhatItExpects) {
  Graph graph(ops::standard_ops());
  const Value g = graph.input("g", f32({2, 2})), p = graph.input("p", f32({2}));
  EXPECT_EQ(ops::gramian_weights(g, p, GramianRule::mgda).type(), f32({2}));
  EXPECT_THROW(ops::gramian_weights(g, p, GramianRule::pcgrad), Error);
  EXPECT_THROW(ops::gramian_weights(g, p, GramianRule::mgda, g), Error);
  EXPECT_THROW(ops::gramian_weights(g, graph.input("q", f32({3})), GramianRule::mgda), Error);
  EXPECT_THROW(ops::gramian_weights(g, p, GramianRule::cagrad, {}, 1), Error);
  const Value many = graph.input("m", f32({9, 9}));
  EXPECT_THROW(ops::gramian_weights(many, graph.input("r", f32({9})), GramianRule::mgda), Error);
}

}  // namespace
}  // namespace tessera
