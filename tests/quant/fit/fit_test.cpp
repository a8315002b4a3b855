// Specifications, nearest entries, fixed codebooks, groups, and what fits report and refuse.
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
#include "quant/fit/assign.h"
#include "quant/fit/fit.h"
#include "tests/error_of.h"
#include "tests/quant/fit/problems.h"

namespace tessera::quant {
namespace {

using test::Data;
using test::expect_sound;
using test::Floats;
using test::magnitude;
using test::make_importance;
using test::make_weights;

using tessera::testing::error_of;

TEST(Spec, TextBothWays) {
  for (const char* text : {"adaptive:1", "adaptive:256", "binary", "binary-scaled", "ternary",
                           "ternary-scaled", "pow2:3", "pow2-scaled:5", "fixed:-1,0.5,2",
                           "scaled:-2,0,1", "fixed:0.1", "vector:256x8"}) {
    EXPECT_EQ(CodebookSpec::parse(text).text(), text);
    EXPECT_EQ(CodebookSpec::parse(CodebookSpec::parse(text).text()), CodebookSpec::parse(text));
  }
  EXPECT_EQ(CodebookSpec::parse("fixed:1,-1").text(), "binary");
  EXPECT_EQ(CodebookSpec::parse("pow2:0"), CodebookSpec::ternary());
  EXPECT_EQ(CodebookSpec::powers_of_two(2).entries(), (Floats{-1, -.5, -.25, 0, .25, .5, 1}));
  EXPECT_EQ(CodebookSpec::powers_of_two(126).size(), 255);
  for (const char* text : {"",
                           "adaptive",
                           "adaptive:",
                           "adaptive:0",
                           "adaptive:257",
                           "adaptive:-1",
                           "adaptive:4x",
                           "adaptive:4 ",
                           "fixed:",
                           "fixed:1,,2",
                           "fixed:1,nan",
                           "fixed:1,inf",
                           "fixed:1,1",
                           "fixed:0,-0",
                           "scaled",
                           "pow2:-1",
                           "pow2:127",
                           "binary:2",
                           "octal",
                           "vector:4",
                           "vector:4x",
                           "vector:4x17",
                           "vector:4x1"}) {
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

TEST(Fit, NamesTheTensorAndThePosition) {
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  Floats weights(100000, 1.0f);
  const auto spec = CodebookSpec::adaptive(2);
  const FitOptions options{.name = "fc1.weight"};
  weights[70001] = nan;
  weights[90000] = infinity;
  EXPECT_EQ(error_of([&] { fit(spec, weights, {}, options); }), "fc1.weight: weight 70001 is nan");
  weights[5] = -infinity;
  EXPECT_EQ(error_of([&] { fit(spec, weights, {}, options); }), "fc1.weight: weight 5 is -inf");
  weights.assign(100000, 1.0f);
  Floats importance(100000, 1.0f);
  importance[66000] = -1;
  EXPECT_EQ(error_of([&] { fit(spec, weights, importance, options); }),
            "fc1.weight: importance 66000 is -1");
  importance[66000] = nan;
  EXPECT_EQ(error_of([&] { fit(spec, weights, importance, options); }),
            "fc1.weight: importance 66000 is nan");
  importance.resize(3);
  EXPECT_NE(error_of([&] { fit(spec, weights, importance, options); }).find("fc1.weight: 3"),
            std::string::npos);
  EXPECT_NE(error_of([&] { fit(spec, {}, {}, options); }).find("fc1.weight: no"),
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
  EXPECT_EQ(error_of([&] { fit_row_groups(spec, weights, rows, 4, {}, nullptr, {.name = "w"}); }),
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
