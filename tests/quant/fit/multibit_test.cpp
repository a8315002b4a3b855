// Multi-bit binary codes against every assignment of codes, and properties of all sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit/fit.h"
#include "quant/fit/multibit.h"

namespace tessera::quant {
namespace {

using Floats = std::vector<float>;

Floats normal(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0, 1);
  Floats out(n);
  for (float& w : out) w = draw(random);
  return out;
}

Floats importances(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> draw(0.1f, 3);
  Floats out(n);
  for (float& h : out) h = draw(random);
  return out;
}

// min over a of sum h (w - sum_b a_b s_b)^2 for given signs, by Gram-Schmidt on the columns.
double least_error(const Floats& w, const Floats& h, const std::vector<unsigned>& codes, int bits) {
  const std::size_t n = w.size();
  std::vector<std::vector<double>> basis;
  std::vector<double> rest(n);
  for (std::size_t i = 0; i < n; ++i) rest[i] = std::sqrt(h[i]) * w[i];
  for (int b = 0; b < bits; ++b) {
    std::vector<double> column(n);
    for (std::size_t i = 0; i < n; ++i) column[i] = std::sqrt(h[i]) * (codes[i] >> b & 1 ? 1 : -1);
    double before = 0, after = 0;
    for (const double x : column) before += x * x;
    for (const auto& q : basis) {
      double dot = 0;
      for (std::size_t i = 0; i < n; ++i) dot += q[i] * column[i];
      for (std::size_t i = 0; i < n; ++i) column[i] -= dot * q[i];
    }
    for (const double x : column) after += x * x;
    if (after < 1e-10 * before) continue;
    for (double& x : column) x /= std::sqrt(after);
    double dot = 0;
    for (std::size_t i = 0; i < n; ++i) dot += column[i] * rest[i];
    for (std::size_t i = 0; i < n; ++i) rest[i] -= dot * column[i];
    basis.push_back(std::move(column));
  }
  double error = 0;
  for (const double x : rest) error += x * x;
  return error;
}

// Over every assignment of codes; the first weight may take a positive a_0 by symmetry.
double brute_force(const Floats& w, const Floats& h, int bits) {
  std::vector<unsigned> codes(w.size());
  double best = std::numeric_limits<double>::infinity();
  while (true) {
    best = std::min(best, least_error(w, h, codes, bits));
    std::size_t i = 0;
    while (i < codes.size() && ++codes[i] == 1u << bits) codes[i++] = 0;
    if (i == codes.size()) return best;
  }
}

TEST(Multibit, OneAndTwoBitsAreExact) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    for (const int bits : {1, 2}) {
      SCOPED_TRACE(cat("seed ", seed, ", bits ", bits));
      const Floats w = normal(bits == 1 ? 9 : 6, seed), h = importances(w.size(), seed + 100);
      const Floats ones(w.size(), 1.0f);
      const double best = brute_force(w, ones, bits), weighted = brute_force(w, h, bits);
      EXPECT_NEAR(fit(CodebookSpec::multibit(bits), w).error, best, 1e-6 * (1 + best));
      EXPECT_NEAR(fit(CodebookSpec::multibit(bits), w, h).error, weighted, 1e-6 * (1 + weighted));
    }
  }
}

TEST(Multibit, ThreeBitsAreSeldomWorseThanTheBestAssignment) {
  int exact = 0;
  constexpr int kRuns = 20;
  for (unsigned seed = 0; seed < kRuns; ++seed) {
    const Floats w = normal(5, seed), ones(5, 1.0f);
    const double error = fit(CodebookSpec::multibit(3), w).error, best = brute_force(w, ones, 3);
    EXPECT_GE(error, best - 1e-6);  // entries are rounded to f32
    exact += error < best + 1e-3;
  }
  EXPECT_GE(exact, kRuns / 2);
}

TEST(Multibit, EachBitLowersTheErrorAndThePaperIsMatched) {
  const Floats w = normal(20'000, 7);
  double last = std::numeric_limits<double>::infinity();
  // For a unit normal: the best any 2^b levels can do (Max 1960) and 1.2 times that.
  const double levels[] = {0.3634, 0.1175, 0.03454, 0.009497};
  for (int bits = 1; bits <= 8; ++bits) {
    const CodebookFit result = fit(CodebookSpec::multibit(bits), w);
    EXPECT_LT(result.error, last) << bits;
    last = result.error;
    ASSERT_EQ(result.entries.size(), std::size_t{1} << bits);
    EXPECT_TRUE(std::is_sorted(result.entries.begin(), result.entries.end()));
    for (std::size_t k = 0; k < result.entries.size(); ++k)
      EXPECT_EQ(result.entries[k], -result.entries[result.entries.size() - 1 - k]);
    if (bits <= 4) {
      const double mean = result.error / static_cast<double>(w.size());
      EXPECT_GT(mean, 0.95 * levels[bits - 1]) << bits;
      EXPECT_LT(mean, 1.2 * levels[bits - 1]) << bits;
    }
  }
}

TEST(Multibit, WhatIsRepresentableIsFound) {
  const float a[] = {1.5f, 0.5f, 0.125f};
  Floats w;
  for (unsigned s = 0; s < 64; ++s) {
    float sum = 0;
    for (int b = 0; b < 3; ++b) sum += s >> b & 1 ? a[b] : -a[b];
    w.push_back(sum);
  }
  EXPECT_NEAR(fit(CodebookSpec::multibit(3), w).error, 0, 1e-10);
}

TEST(Multibit, FewEqualAndZeroWeights) {
  for (int bits = 1; bits <= 8; ++bits) {
    SCOPED_TRACE(bits);
    EXPECT_NEAR(fit(CodebookSpec::multibit(bits), Floats{-0.75f}).error, 0, 1e-12);
    EXPECT_NEAR(fit(CodebookSpec::multibit(bits), Floats(9, 0.3f)).error, 0, 1e-12);
    EXPECT_EQ(fit(CodebookSpec::multibit(bits), Floats(5, 0.0f)).error, 0);
    // All negative: the upper half of the sums stays unused.
    Floats negative = normal(200, 3);
    for (float& w : negative) w = -1 - std::abs(w);
    const CodebookFit result = fit(CodebookSpec::multibit(bits), negative);
    for (const std::uint8_t index : result.indices) EXPECT_LT(index, result.entries.size() / 2);
  }
  EXPECT_THROW(fit(CodebookSpec::multibit(2), Floats{1, std::nanf("")}), Error);
  EXPECT_THROW(CodebookSpec::multibit(9), Error);
  EXPECT_THROW(CodebookSpec::parse("multibit:0"), Error);
}

TEST(Multibit, SpecReadsBack) {
  for (int bits = 1; bits <= 8; ++bits) {
    const CodebookSpec spec = CodebookSpec::multibit(bits);
    EXPECT_EQ(spec.text(), cat("multibit:", bits));
    EXPECT_EQ(CodebookSpec::parse(spec.text()), spec);
    EXPECT_EQ(spec.bits(), bits);
  }
}

TEST(Multibit, WeightsOfNoImportanceDoNotMatter) {
  Floats w = normal(300, 5), h(300, 1.0f);
  const double error = fit(CodebookSpec::multibit(3), w, h).error;
  w.insert(w.end(), {1000, -777});
  h.insert(h.end(), {0, 0});
  EXPECT_NEAR(fit(CodebookSpec::multibit(3), w, h).error, error, 1e-6 * error);
}

TEST(Multibit, SameBitsForAnyNumberOfThreads) {
  const Floats w = normal(100'000, 9);
  const int before = num_threads();
  set_num_threads(1);
  const auto one = fit(CodebookSpec::multibit(4), w);
  set_num_threads(3);
  const auto three = fit(CodebookSpec::multibit(4), w);
  set_num_threads(before);
  EXPECT_EQ(one.entries, three.entries);
  EXPECT_EQ(one.indices, three.indices);
}

}  // namespace
}  // namespace tessera::quant
