#include "quant/fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit_assign.h"
#include "quant/fit_lloyd.h"
#include "quant/fit_scale.h"
#include "quant/kmeans1d.h"
#include "quant/sort.h"

namespace tessera::quant {
namespace {

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

Floats make_weights(std::size_t n, Data data, std::mt19937& random) {
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

Floats make_importance(std::size_t n, std::mt19937& random) {
  Floats importance(n);
  for (float& h : importance)
    h = random() % 5 == 0 ? 0.0f : std::exp(std::normal_distribution<float>(0, 1.5f)(random));
  return importance;
}

double h_at(const Floats& importance, std::size_t i) {
  return importance.empty() ? 1.0 : importance[i];
}

// sum h (w - nearest entry)^2 by trying every entry.
double nearest_error(const Floats& weights, const Floats& importance, const Floats& entries) {
  double error = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const float c : entries)
      least = std::min(least, std::pow(static_cast<double>(weights[i]) - c, 2));
    error += h_at(importance, i) * least;
  }
  return error;
}

double magnitude(const Floats& weights, const Floats& importance) {
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    sum += h_at(importance, i) * weights[i] * weights[i];
  return sum;
}

// What must hold for any fit: sizes, order, nearest indices, the error it says it has.
void expect_sound(const CodebookFit& fit, const Floats& weights, const Floats& importance) {
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

// Rounding the entries to f32 moves each by half an ulp: the error by about 1e-14 of the weights.
double rounding(const Floats& weights, const Floats& importance) {
  return 4e-14 * magnitude(weights, importance) + 1e-300;
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

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

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

TEST(Spec, TextBothWays) {
  for (const char* text :
       {"adaptive:1", "adaptive:256", "binary", "binary-scaled", "ternary", "ternary-scaled",
        "pow2:3", "pow2-scaled:5", "fixed:-1,0.5,2", "scaled:-2,0,1", "fixed:0.1"}) {
    EXPECT_EQ(CodebookSpec::parse(text).text(), text);
    EXPECT_EQ(CodebookSpec::parse(CodebookSpec::parse(text).text()), CodebookSpec::parse(text));
  }
  EXPECT_EQ(CodebookSpec::parse("fixed:1,-1").text(), "binary");
  EXPECT_EQ(CodebookSpec::parse("pow2:0"), CodebookSpec::ternary());
  EXPECT_EQ(CodebookSpec::powers_of_two(2).entries(), (Floats{-1, -.5, -.25, 0, .25, .5, 1}));
  EXPECT_EQ(CodebookSpec::powers_of_two(126).size(), 255);
  for (const char* text :
       {"", "adaptive", "adaptive:", "adaptive:0", "adaptive:257", "adaptive:-1", "adaptive:4x",
        "adaptive:4 ", "fixed:", "fixed:1,,2", "fixed:1,nan", "fixed:1,inf", "fixed:1,1",
        "fixed:0,-0", "scaled", "pow2:-1", "pow2:127", "binary:2", "octal"}) {
    EXPECT_THROW(CodebookSpec::parse(text), Error) << text;
  }
  EXPECT_THROW(CodebookSpec::fixed(Floats(257)), Error);
}

TEST(Spec, Bits) {
  const std::vector<std::pair<int, int>> cases{{1, 1}, {2, 1}, {3, 2},  {4, 2},  {5, 3},
                                               {8, 3}, {9, 4}, {16, 4}, {17, 5}, {256, 8}};
  for (const auto& [k, bits] : cases) EXPECT_EQ(CodebookSpec::adaptive(k).bits(), bits) << k;
  EXPECT_EQ(CodebookSpec::ternary().bits(), 2);
}

TEST(Assign, NearestForEverySize) {
  std::mt19937 random(3);
  for (const std::size_t k : {1, 2, 3, 4, 15, 16, 17, 33, 128, 129, 255, 256}) {
    for (const std::size_t n : {1, 15, 16, 17, 511, 513, 70000}) {
      std::set<float> set;
      while (set.size() < k) set.insert(std::normal_distribution<float>(0, 1)(random));
      const Floats entries(set.begin(), set.end());
      const Floats weights = make_weights(n, Data::kUniform, random);
      std::vector<std::uint8_t> indices(n);
      const AssignResult result = assign_nearest(entries, weights, {}, {}, indices);
      double error = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double got = std::abs(static_cast<double>(weights[i]) - entries[indices[i]]);
        const auto above = std::lower_bound(entries.begin(), entries.end(), weights[i]);
        for (auto c = above == entries.begin() ? above : above - 1;
             c != entries.end() && c <= above; ++c)
          ASSERT_LE(got, std::abs(static_cast<double>(weights[i]) - *c));
        error += got * got;
      }
      EXPECT_NEAR(result.error, error, 1e-12 * error);
    }
  }
}

TEST(Assign, TiesGoAwayFromZero) {
  const float below = std::nextafter(0.5f, 0.0f);
  const Floats weights{0.0f, -0.0f, 0.5f, -0.5f, below, -below};
  EXPECT_EQ(fit(CodebookSpec::binary(), weights).indices,
            (std::vector<std::uint8_t>{1, 1, 1, 0, 1, 0}));
  EXPECT_EQ(fit(CodebookSpec::ternary(), weights).indices,
            (std::vector<std::uint8_t>{1, 1, 2, 0, 1, 1}));
  // The midpoint of neighbouring floats is no float.
  const float one_up = std::nextafter(1.0f, 2.0f);
  EXPECT_EQ(fit(CodebookSpec::fixed({1.0f, one_up}), Floats{1.0f, one_up}).indices,
            (std::vector<std::uint8_t>{0, 1}));
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

TEST(Fixed, MatchesFormulas) {
  std::mt19937 random(9);
  const Floats weights = make_weights(5000, Data::kUniform, random);
  Floats wide = weights;
  for (float& w : wide) w *= 3;
  const CodebookFit ternary = fit(CodebookSpec::ternary(), wide);
  const CodebookFit binary = fit(CodebookSpec::binary(), wide);
  for (std::size_t i = 0; i < wide.size(); ++i) {
    EXPECT_EQ(ternary.entries[ternary.indices[i]],
              std::abs(wide[i]) < 0.5f ? 0.0f : std::copysign(1.0f, wide[i]));
    EXPECT_EQ(binary.entries[binary.indices[i]], wide[i] >= 0 ? 1.0f : -1.0f);
  }
  for (const int most : {0, 1, 2, 3, 5}) {
    const CodebookFit power = fit(CodebookSpec::powers_of_two(most), wide);
    expect_sound(power, wide, {});
    for (std::size_t i = 0; i < wide.size(); ++i) {
      const double f = -std::log2(std::abs(static_cast<double>(wide[i])));
      double size = std::exp2(-std::floor(f + std::log2(1.5)));
      if (f > most + 1)
        size = 0;
      else if (f <= 0)
        size = 1;
      else if (f > most)
        size = std::exp2(-most);
      ASSERT_EQ(power.entries[power.indices[i]], std::copysign(size, wide[i])) << wide[i];
    }
  }
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

TEST(Fit, NamesTheTensorAndThePosition) {
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  Floats weights(100000, 1.0f);
  const auto spec = CodebookSpec::adaptive(2);
  const FitOptions options{.name = "fc1.weight"};
  weights[70001] = nan;
  weights[90000] = infinity;
  EXPECT_EQ(message_of([&] { fit(spec, weights, {}, options); }),
            "fc1.weight: weight 70001 is nan");
  weights[5] = -infinity;
  EXPECT_EQ(message_of([&] { fit(spec, weights, {}, options); }), "fc1.weight: weight 5 is -inf");
  weights.assign(100000, 1.0f);
  Floats importance(100000, 1.0f);
  importance[66000] = -1;
  EXPECT_EQ(message_of([&] { fit(spec, weights, importance, options); }),
            "fc1.weight: importance 66000 is -1");
  importance[66000] = nan;
  EXPECT_EQ(message_of([&] { fit(spec, weights, importance, options); }),
            "fc1.weight: importance 66000 is nan");
  importance.resize(3);
  EXPECT_NE(message_of([&] { fit(spec, weights, importance, options); }).find("fc1.weight: 3"),
            std::string::npos);
  EXPECT_NE(message_of([&] { fit(spec, {}, {}, options); }).find("fc1.weight: no"),
            std::string::npos);
  CodebookFit start{{1, 2, 3}, {}, 1, 0, 1};
  EXPECT_THROW(fit(spec, weights, {}, {.warm_start = &start}), Error);
  start = {{1}, {0, 0}, 1, 0, 1};
  EXPECT_THROW(fit(spec, weights, {}, {.warm_start = &start}), Error);
}

TEST(Fit, SameBitsForAnyNumberOfThreads) {
  std::mt19937 random(13);
  const int threads = num_threads();
  for (const auto data : {Data::kNormal, Data::kHeavyTails, Data::kDuplicates}) {
    const Floats weights = make_weights(300000, data, random);
    const Floats importance = make_importance(weights.size(), random);
    for (const char* text : {"adaptive:4", "adaptive:64", "scaled:-2,-1,0,1", "binary-scaled"}) {
      for (const auto& h : {Floats{}, importance}) {
        set_num_threads(1);
        const CodebookFit one = fit(CodebookSpec::parse(text), weights, h);
        for (const int n : {2, 3}) {
          set_num_threads(n);
          const CodebookFit other = fit(CodebookSpec::parse(text), weights, h);
          EXPECT_EQ(one.entries, other.entries) << text;
          EXPECT_EQ(one.indices, other.indices) << text;
          EXPECT_EQ(one.error, other.error) << text;
          EXPECT_EQ(one.scale, other.scale) << text;
        }
      }
    }
  }
  set_num_threads(threads);
}

TEST(Groups, EveryGroupIsItsOwnFit) {
  std::mt19937 random(14);
  const std::int64_t rows = 10, columns = 37, group_rows = 4;
  Floats weights = make_weights(rows * columns, Data::kNormal, random);
  std::fill(weights.begin() + 8 * columns, weights.end(), 0.5f);  // the short last group
  const Floats importance = make_importance(weights.size(), random);
  const auto spec = CodebookSpec::adaptive(4);
  const GroupedFit grouped = fit_row_groups(spec, weights, rows, group_rows, importance);
  ASSERT_EQ(grouped.groups, 3);
  ASSERT_EQ(grouped.k, 4);
  ASSERT_EQ(grouped.entries.size(), 12u);
  double error = 0, miss = 0;
  for (std::int64_t g = 0; g < 3; ++g) {
    const std::size_t first = g * group_rows * columns;
    const std::size_t count = std::min<std::size_t>(group_rows * columns, weights.size() - first);
    const CodebookFit one = fit(spec, std::span(weights).subspan(first, count),
                                std::span(importance).subspan(first, count));
    error += one.error;
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(grouped.indices[first + i], one.indices[i]);
    for (std::size_t k = 0; k < 4; ++k)
      EXPECT_EQ(grouped.entries[g * 4 + k], one.entries[std::min(k, one.entries.size() - 1)]);
    for (std::size_t i = 0; i < count; ++i)
      miss += std::pow(static_cast<double>(weights[first + i]) - one.entries[one.indices[i]], 2);
  }
  EXPECT_DOUBLE_EQ(grouped.error, error);
  EXPECT_NEAR(quantization_error(weights, rows, group_rows, grouped),
              std::sqrt(miss / magnitude(weights, {})), 1e-12);
  const GroupedFit again = fit_row_groups(spec, weights, rows, group_rows, importance, &grouped);
  EXPECT_EQ(again.changed, 0);
  EXPECT_EQ(again.entries, grouped.entries);
  EXPECT_THROW(fit_row_groups(spec, weights, 7, 1), Error);
  EXPECT_THROW(fit_row_groups(spec, weights, rows, 5, {}, &grouped), Error);
  weights[200] = std::nanf("");
  EXPECT_EQ(message_of([&] { fit_row_groups(spec, weights, rows, 4, {}, nullptr, {.name = "w"}); }),
            "w: weight 200 is nan");
}

TEST(Report, ErrorAndEntropy) {
  const Floats weights{3, 4};
  CodebookFit fit{{0, 4}, {0, 1}, 1, 0, 1};
  EXPECT_DOUBLE_EQ(quantization_error(weights, fit), 0.6);
  EXPECT_EQ(quantization_error(Floats{0, 4}, fit), 0);
  EXPECT_EQ(quantization_error(Floats{0, 0}, fit), std::numeric_limits<double>::infinity());
  EXPECT_EQ(index_entropy({}), 0);
  EXPECT_EQ(index_entropy(std::vector<std::uint8_t>{7, 7, 7}), 0);
  EXPECT_DOUBLE_EQ(index_entropy(std::vector<std::uint8_t>{0, 1, 2, 3}), 2);
  EXPECT_DOUBLE_EQ(index_entropy(std::vector<std::uint8_t>{0, 0, 0, 1}), 2 - 0.75 * std::log2(3));
}

}  // namespace
}  // namespace tessera::quant
