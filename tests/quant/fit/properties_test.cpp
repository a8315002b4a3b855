// What holds for every kind of codebook, on the weights that fits trip over.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/error.h"
#include "quant/fit/fit.h"

namespace tessera::quant {
namespace {

using Floats = std::vector<float>;

const char* const kSpecs[] = {"adaptive:1",   "adaptive:2",    "adaptive:7",    "adaptive:256",
                              "binary",       "ternary",       "binary-scaled", "ternary-scaled",
                              "pow2:3",       "pow2-scaled:3", "multibit:1",    "multibit:2",
                              "multibit:4",   "fixed:0.3",     "fixed:-2,0.5",  "scaled:-2,-1,0,1",
                              "scaled:-7,1,4"};

Floats normal(std::size_t n, float scale, float offset) {
  std::mt19937 random(17);
  std::normal_distribution<float> draw(0, 1);
  Floats out(n);
  for (float& w : out) w = offset + scale * draw(random);
  return out;
}

struct Named {
  const char* name;
  Floats weights;
};

std::vector<Named> awkward() {
  Floats ties, negative = normal(40, 1, 0);
  for (int i = -8; i <= 8; ++i) ties.push_back(0.125f * static_cast<float>(i));
  for (float& w : negative) w = -0.5f - std::abs(w);
  return {{"one", {0.7f}},
          {"one negative", {-0.7f}},
          {"zero", {0.0f}},
          {"zeros of both signs", {0.0f, -0.0f, 0.0f}},
          {"fewer than the entries", {1, -2, 0.25f}},
          {"constant", Floats(50, 0.3f)},
          {"negative constant", Floats(50, -0.3f)},
          {"negative", negative},
          {"on midpoints and symmetric", ties},
          {"plain", normal(500, 0.05f, 0)},
          {"far from zero", normal(200, 1, 1000)},
          {"tiny", normal(100, 1e-30f, 0)},
          {"huge", normal(100, 1e15f, 0)}};
}

double error_of(const Floats& w, const CodebookFit& f) {
  double error = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    error += std::pow(static_cast<double>(w[i]) - f.entries[f.indices[i]], 2);
  return error;
}

double square(const Floats& w) {
  double sum = 0;
  for (const float v : w) sum += static_cast<double>(v) * v;
  return sum;
}

TEST(EveryKind, GivesSoundCodebooks) {
  for (const char* text : kSpecs) {
    const CodebookSpec spec = CodebookSpec::parse(text);
    for (const auto& [name, w] : awkward()) {
      SCOPED_TRACE(cat(text, ", ", name));
      const CodebookFit f = fit(spec, w);
      ASSERT_EQ(f.indices.size(), w.size());
      ASSERT_GE(f.entries.size(), 1u);
      ASSERT_LE(f.entries.size(), static_cast<std::size_t>(spec.size()));
      EXPECT_TRUE(std::is_sorted(f.entries.begin(), f.entries.end()));
      for (const float c : f.entries) EXPECT_TRUE(std::isfinite(c));
      for (std::size_t i = 0; i < w.size(); ++i) {
        ASSERT_LT(f.indices[i], f.entries.size());
        const double miss = std::abs(static_cast<double>(w[i]) - f.entries[f.indices[i]]);
        for (const float c : f.entries) EXPECT_LE(miss, std::abs(static_cast<double>(w[i]) - c));
      }
      EXPECT_NEAR(f.error, error_of(w, f), 1e-9 * f.error);
      // A free scale or free entries are never worse than all entries at zero, or one at the mean.
      const bool free = spec.entries().empty() || spec.kind() == CodebookSpec::Kind::kScaled;
      if (free) EXPECT_LE(f.error, square(w) * (1 + 1e-9));
    }
  }
}

TEST(EveryKind, ErrorDoesNotDependOnTheOrderOrOnCopies) {
  for (const char* text : kSpecs) {
    const CodebookSpec spec = CodebookSpec::parse(text);
    for (auto& [name, w] : awkward()) {
      SCOPED_TRACE(cat(text, ", ", name));
      const double error = fit(spec, w).error, slack = 1e-9 * error + 1e-12 * square(w);
      Floats moved(w.rbegin(), w.rend());
      std::rotate(moved.begin(), moved.begin() + static_cast<std::ptrdiff_t>(w.size() / 3),
                  moved.end());
      EXPECT_NEAR(fit(spec, moved).error, error, slack);
      Floats twice = w;
      twice.insert(twice.end(), w.begin(), w.end());
      EXPECT_NEAR(fit(spec, twice).error, 2 * error, 2 * slack);
      // Importance two is a second copy.
      EXPECT_NEAR(fit(spec, w, Floats(w.size(), 2.0f)).error, 2 * error, 2 * slack);
    }
  }
}

TEST(EveryKind, FreeCodebooksFollowTheScaleOfTheWeights) {
  const Floats w = normal(400, 0.2f, 0.05f);
  Floats scaled = w, mirrored = w;
  for (float& v : scaled) v *= 4;
  for (float& v : mirrored) v = -v;
  for (const char* text : kSpecs) {
    const CodebookSpec spec = CodebookSpec::parse(text);
    if (spec.kind() == CodebookSpec::Kind::kFixed) continue;
    SCOPED_TRACE(text);
    const double error = fit(spec, w).error;
    EXPECT_NEAR(fit(spec, scaled).error, 16 * error, 1e-6 * error);
    if (spec.entries().empty()) EXPECT_NEAR(fit(spec, mirrored).error, error, 1e-6 * error);
  }
}

TEST(EveryKind, RefusesWhatIsNoNumber) {
  const float bad[] = {std::nanf(""), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  for (const char* text : kSpecs) {
    const CodebookSpec spec = CodebookSpec::parse(text);
    for (const float value : bad) {
      EXPECT_THROW(fit(spec, Floats{1, value, 2}), Error) << text;
      EXPECT_THROW(fit(spec, Floats{1, 3, 2}, Floats{1, value, 2}), Error) << text;
    }
    EXPECT_THROW(fit(spec, Floats{}), Error) << text;
  }
}

}  // namespace
}  // namespace tessera::quant
