// The sort that carries indices, and moments of sorted weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit/sort.h"
#include "quant/fit/sorted.h"
#include "tests/quant/fit/problems.h"

namespace tessera::quant {
namespace {

using test::Data;
using test::Floats;
using test::make_importance;
using test::make_weights;

TEST(Sort, SortsAndCarries) {
  std::mt19937 random(1);
  for (const std::size_t n : {0, 1, 2, 47, 49, 1000, 6143, 6144, 20000, 300000}) {
    for (int data = 0; data < static_cast<int>(Data::kCount); ++data) {
      const Floats weights = make_weights(n, static_cast<Data>(data), random);
      Floats carried(n);
      for (std::size_t i = 0; i < n; ++i) carried[i] = static_cast<float>(i);
      Floats expected = weights, sorted(n), sorted_carried(n), alone(n);
      std::sort(expected.begin(), expected.end());
      sort_floats(weights, carried, sorted, sorted_carried);
      sort_floats(weights, {}, alone, {});
      ASSERT_EQ(sorted, expected) << n << " " << data;
      ASSERT_EQ(alone, expected);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(weights[static_cast<std::size_t>(sorted_carried[i])], sorted[i]);
        if (i > 0 && sorted[i] == sorted[i - 1]) {
          ASSERT_LT(sorted_carried[i - 1], sorted_carried[i]);  // stable
        }
      }
    }
  }
}

TEST(Sort, ExtremeValues) {
  const float most = std::numeric_limits<float>::max();
  Floats weights;
  for (int i = 0; i < 10000; ++i)
    weights.insert(weights.end(), {most, -most, 1e-45f, -1e-45f, 0.0f, static_cast<float>(i)});
  Floats expected = weights, sorted(weights.size());
  std::sort(expected.begin(), expected.end());
  sort_floats(weights, {}, sorted, {});
  EXPECT_EQ(sorted, expected);
}

TEST(SortedWeights, MomentsAndSearch) {
  std::mt19937 random(2);
  for (const std::size_t n : {1, 31, 32, 33, 1000}) {
    const Floats weights = make_weights(n, Data::kOffset, random);
    Floats importance = make_importance(n, random);
    importance[0] = 2;
    const SortedWeights sorted(weights, importance);
    Moments all;
    for (std::size_t p = 0; p <= sorted.size(); ++p) {
      const Moments below = sorted.before(p);
      ASSERT_NEAR(below.mass, all.mass, 1e-12 * all.mass);
      ASSERT_NEAR(below.sum, all.sum, 1e-9);
      ASSERT_NEAR(below.square, all.square, 1e-9 * all.square + 1e-9);
      if (p == sorted.size()) break;
      const double x = sorted[p] - sorted.centre(), h = sorted.importance(p);
      all += {h, h * x, h * x * x};
    }
    for (int i = 0; i < 200; ++i) {
      const float limit = 1000 + std::normal_distribution<float>(0, 1.5f)(random);
      std::size_t expected = 0;
      while (expected < sorted.size() && sorted[expected] <= limit) ++expected;
      EXPECT_EQ(sorted.count_not_above(limit, random() % (n + 1)), expected);
    }
  }
}

}  // namespace
}  // namespace tessera::quant
