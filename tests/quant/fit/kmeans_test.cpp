// Exact 1-D k-means against textbook dynamic programming.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit/kmeans1d.h"
#include "quant/fit/lloyd.h"
#include "tests/quant/fit/problems.h"

namespace tessera::quant {
namespace {

using test::Data;
using test::expect_sound;
using test::Floats;
using test::h_at;
using test::make_importance;
using test::make_weights;
using test::nearest_error;
using test::rounding;

// Textbook dynamic programming, O(K n^2) time, O(K n) memory: the least error of K clusters.
double textbook_kmeans(const Floats& weights, const Floats& importance, std::size_t k) {
  std::vector<std::pair<double, double>> points;
  for (std::size_t i = 0; i < weights.size(); ++i)
    points.emplace_back(weights[i], h_at(importance, i));
  std::sort(points.begin(), points.end());
  const std::size_t n = points.size();
  std::vector<std::vector<double>> best(
      k + 1, std::vector<double>(n + 1, std::numeric_limits<double>::infinity()));
  best[0][0] = 0;
  for (std::size_t end = 1; end <= n; ++end) {
    // Welford's update from the right end leftwards: no cancellation.
    double mass = 0, mean = 0, spread = 0;
    for (std::size_t begin = end; begin-- > 0;) {
      const auto [x, h] = points[begin];
      if (h > 0) {
        const double next = mass + h, apart = x - mean;
        spread += mass * h / next * apart * apart;
        mean += apart * h / next;
        mass = next;
      }
      for (std::size_t c = 1; c <= k; ++c)
        best[c][end] = std::min(best[c][end], best[c - 1][begin] + spread);
    }
  }
  double least = best[1][n];
  for (std::size_t c = 2; c <= k; ++c) least = std::min(least, best[c][n]);
  return least;
}

TEST(Adaptive, MatchesTextbookOnSmallInputs) {
  std::mt19937 random(4);
  for (int round = 0; round < 600; ++round) {
    const std::size_t n = 1 + random() % 60, k = 1 + random() % 9;
    const auto data = static_cast<Data>(random() % static_cast<unsigned>(Data::kCount));
    const Floats weights = make_weights(n, data, random);
    Floats importance;
    if (round % 2) importance = make_importance(n, random);
    if (round % 2) importance[random() % n] = 1;
    const CodebookFit got = fit(CodebookSpec::adaptive(static_cast<int>(k)), weights, importance);
    expect_sound(got, weights, importance);
    EXPECT_LE(got.entries.size(), k);
    const double expected = textbook_kmeans(weights, importance, k);
    EXPECT_NEAR(got.error, expected, 1e-9 * expected + rounding(weights, importance))
        << "n " << n << " K " << k << " data " << static_cast<int>(data) << " round " << round;
  }
}

// Sizes at which the search prunes over several rounds, and its linear-memory stage.
TEST(Adaptive, MatchesTextbookOnLargerInputs) {
  std::mt19937 random(5);
  bool pruned = false, linear = false;
  for (int round = 0; round < 42; ++round) {
    const std::size_t n = round < 40 ? 300 + random() % 1200 : 4000,
                      k = 2 + random() % (round % 4 ? 20 : 60);
    const auto data = static_cast<Data>(round % static_cast<int>(Data::kCount));
    const Floats weights = make_weights(n, data, random);
    Floats importance;
    if (round % 3 == 1) importance = make_importance(n, random);
    const double expected = textbook_kmeans(weights, importance, k);
    const double tolerance = 1e-9 * expected + rounding(weights, importance);
    const SortedWeights sorted(weights, importance);
    for (const std::size_t max_nodes : {std::size_t{1} << 22, std::size_t{1}, 8 * n}) {
      KmeansStats stats;
      const Floats entries = exact_kmeans(sorted, k, {}, {max_nodes}, &stats);
      EXPECT_NEAR(nearest_error(weights, importance, entries), expected, tolerance)
          << "n " << n << " K " << k << " data " << static_cast<int>(data) << " " << max_nodes;
      pruned |= stats.nodes > 0 && stats.nodes < (k - 1) * n / 2 && !stats.linear_memory;
      linear |= stats.linear_memory;
    }
  }
  EXPECT_TRUE(pruned);
  EXPECT_TRUE(linear);
}

TEST(Adaptive, BothStagesAgreeOnMoreWeights) {
  std::mt19937 random(6);
  for (const auto data : {Data::kNormal, Data::kHeavyTails, Data::kUniform}) {
    const Floats weights = make_weights(20000, data, random);
    const SortedWeights sorted(weights, {});
    for (const std::size_t k : {2, 7, 32}) {
      const double pruned = nearest_error(weights, {}, exact_kmeans(sorted, k));
      const double plain = nearest_error(weights, {}, exact_kmeans(sorted, k, {}, {1}));
      EXPECT_NEAR(pruned, plain, 1e-10 * plain + rounding(weights, {}));
    }
  }
}

TEST(Adaptive, FewDistinctValues) {
  const Floats weights{3, -1, 3, 2, -1, 2, 2};
  const CodebookFit all = fit(CodebookSpec::adaptive(16), weights);
  EXPECT_EQ(all.entries, (Floats{-1, 2, 3}));
  EXPECT_EQ(all.error, 0);
  EXPECT_EQ(all.indices, (std::vector<std::uint8_t>{2, 0, 2, 1, 0, 1, 1}));
  EXPECT_EQ(fit(CodebookSpec::adaptive(3), weights).entries, (Floats{-1, 2, 3}));
  EXPECT_EQ(fit(CodebookSpec::adaptive(4), Floats(1000, 0.3f)).entries, (Floats{0.3f}));
  EXPECT_EQ(fit(CodebookSpec::adaptive(1), Floats{1, 2, 6}).entries, (Floats{3}));
  EXPECT_EQ(fit(CodebookSpec::adaptive(4), Floats{0.0f, -0.0f}).entries.size(), 1u);
  // Weights without importance do not shape the codebook, but are assigned.
  const Floats importance{1, 1, 0, 0, 0, 0, 0};
  const CodebookFit part = fit(CodebookSpec::adaptive(4), weights, importance);
  EXPECT_EQ(part.entries, (Floats{-1, 3}));
  EXPECT_EQ(part.indices, (std::vector<std::uint8_t>{1, 0, 1, 1, 0, 1, 1}));
  EXPECT_EQ(part.error, 0);
  // Importance zero everywhere is no importance.
  const Floats zero(weights.size(), 0.0f);
  EXPECT_EQ(fit(CodebookSpec::adaptive(2), weights, zero).entries,
            fit(CodebookSpec::adaptive(2), weights).entries);
}

TEST(Adaptive, ManyDuplicatesAndOneOutlier) {
  std::mt19937 random(7);
  Floats weights = make_weights(200000, Data::kDuplicates, random);  // 9 values
  EXPECT_EQ(fit(CodebookSpec::adaptive(9), weights).error, 0);
  const CodebookFit eight = fit(CodebookSpec::adaptive(8), weights);
  // Merging the two neighbours with the least cost m1 m2 / (m1 + m2) d^2 is optimal here.
  std::vector<double> count(9);
  for (const float w : weights) ++count[static_cast<std::size_t>((w + 1) * 4)];
  double least = 1e300;
  for (int i = 0; i < 8; ++i)
    least = std::min(least, count[i] * count[i + 1] / (count[i] + count[i + 1]) / 16);
  EXPECT_NEAR(eight.error, least, 1e-6 * least);
  weights = make_weights(50000, Data::kNormal, random);
  const double without = fit(CodebookSpec::adaptive(15), weights).error;
  weights.push_back(100);
  const CodebookFit with = fit(CodebookSpec::adaptive(16), weights);
  EXPECT_EQ(with.entries.back(), 100);
  EXPECT_NEAR(with.error, without, 1e-9 * without);
}

TEST(Adaptive, WarmStartNeverIncreasesTheError) {
  std::mt19937 random(8);
  for (int round = 0; round < 300; ++round) {
    const std::size_t n = 1 + random() % 400;
    const int k = 1 + static_cast<int>(random() % 12);
    const auto data = static_cast<Data>(random() % static_cast<unsigned>(Data::kCount));
    const Floats weights = make_weights(n, data, random);
    Floats importance;
    if (round % 2) importance = make_importance(n, random);
    const bool weighted =
        std::any_of(importance.begin(), importance.end(), [](float h) { return h > 0; });
    std::set<float> set;
    const std::size_t entries = 1 + random() % k;
    for (std::size_t i = 0; i < entries; ++i)
      set.insert(weights[random() % n] * std::uniform_real_distribution<float>(0.5f, 2)(random));
    CodebookFit start{{set.begin(), set.end()}, {}, 1, 0, 1};
    start.indices.resize(n);
    const Floats counted = weighted ? importance : Floats{};
    const double before = nearest_error(weights, counted, start.entries);
    const auto spec = CodebookSpec::adaptive(k);
    const CodebookFit warm = fit(spec, weights, importance, {.warm_start = &start});
    expect_sound(warm, weights, counted);
    EXPECT_LE(warm.error, before * (1 + 1e-12));
    const CodebookFit exact = fit(spec, weights, importance, {.warm_start = &start, .exact = true});
    EXPECT_LE(exact.error, warm.error * (1 + 1e-9) + rounding(weights, counted));
    // A fixed point: every entry is the mean of its weights, none is empty unless nothing is left.
    const CodebookFit again = fit(spec, weights, importance, {.warm_start = &warm});
    EXPECT_EQ(again.entries, warm.entries);
    EXPECT_EQ(again.changed, 0);
    std::size_t differing = 0;
    for (std::size_t i = 0; i < n; ++i) differing += warm.indices[i] != start.indices[i];
    EXPECT_EQ(warm.changed, static_cast<double>(differing) / static_cast<double>(n));
  }
}

TEST(Adaptive, WarmStartUsesEveryEntry) {
  const Floats weights{0, 1, 10, 11, 20, 21};
  const CodebookFit start{{-500, -400, -300}, {}, 1, 0, 1};
  const CodebookFit warm = fit(CodebookSpec::adaptive(3), weights, {}, {.warm_start = &start});
  EXPECT_EQ(warm.entries, (Floats{0.5f, 10.5f, 20.5f}));
}

}  // namespace
}  // namespace tessera::quant
