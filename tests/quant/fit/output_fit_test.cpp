// Codes and entries that keep outputs: against brute force, direct solutions and the plain form of
// each algorithm.
#include "quant/fit/output_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/linear_algebra.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "tests/error_of.h"

namespace tessera::quant {
namespace {

using testing::error_of;

std::vector<float> normal(std::size_t n, std::uint64_t seed) {
  Rng rng(seed, 2);
  std::vector<float> out(n);
  for (float& v : out) v = static_cast<float>(rng.normal());
  return out;
}

// Second moments of inputs that vary together.
InputMoments part(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t n,
                  std::uint64_t seed) {
  const std::int64_t samples = 3 * n;
  std::vector<float> x = normal(static_cast<std::size_t>(samples * n), seed);
  for (std::int64_t s = 0; s < samples; ++s) {
    for (std::int64_t i = 1; i < n; ++i)
      x[static_cast<std::size_t>(s * n + i)] += 0.8f * x[static_cast<std::size_t>(s * n + i - 1)];
  }
  InputMoments out{row, rows, column, n, std::vector<float>(static_cast<std::size_t>(n * n))};
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t s = 0; s < samples; ++s)
        sum +=
            double{x[static_cast<std::size_t>(s * n + i)]} * x[static_cast<std::size_t>(s * n + j)];
      out.moments[static_cast<std::size_t>(i * n + j)] = static_cast<float>(sum / samples);
    }
  }
  return out;
}

// E(Q) by its definition, in f64; `damping` of OutputFit is 0.
double error(const std::vector<InputMoments>& parts, std::span<const float> w,
             std::span<const float> q, std::int64_t columns) {
  double sum = 0;
  for (const InputMoments& p : parts) {
    for (std::int64_t r = p.row; r < p.row + p.rows; ++r) {
      for (std::int64_t i = 0; i < p.columns; ++i) {
        for (std::int64_t j = 0; j < p.columns; ++j) {
          const auto a = static_cast<std::size_t>(r * columns + p.column + i),
                     b = static_cast<std::size_t>(r * columns + p.column + j);
          sum += (double{w[a]} - q[a]) * p.moments[static_cast<std::size_t>(i * p.columns + j)] *
                 (double{w[b]} - q[b]);
        }
      }
    }
  }
  return sum;
}

double error(const std::vector<InputMoments>& parts, std::span<const float> w,
             const CodebookTensor& codebook, std::int64_t columns) {
  std::vector<float> q(w.size());
  codebook.decode(q);
  return error(parts, w, q, columns);
}

CodebookTensor start(const CodebookSpec& spec, std::span<const float> w, std::int64_t rows,
                     std::int64_t group_rows = 0) {
  return fit_tensor("w", spec, {rows, static_cast<std::int64_t>(w.size()) / rows}, group_rows, w);
}

TEST(OutputFit, ErrorIsItsDefinition) {
  const std::vector<float> w = normal(10 * 12, 1);
  // Two groups of rows, one of them in two parts of columns.
  const std::vector<InputMoments> parts = {part(0, 4, 0, 12, 1), part(4, 6, 0, 5, 2),
                                           part(4, 6, 5, 7, 3)};
  const CodebookTensor c = start(CodebookSpec::adaptive(3), w, 10, 4);
  const double whole = error(parts, w, std::vector<float>(w.size()), 12);
  EXPECT_NEAR(OutputFit(w, 10, parts, 0).error(c), error(parts, w, c, 12) / whole, 1e-6);
  const OutputFit fit(w, 10, parts, 0);
  EXPECT_EQ(fit.importance()[5 * 12 + 6], parts[2].moments[1 * 7 + 1]);
}

// One row, two entries: all codes can be tried.
TEST(OutputFit, RoundsAndDescendsTowardsTheBestCodes) {
  double nearest = 0, rounded = 0, descended = 0, best = 0;
  int found = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::int64_t n = 10;
    const std::vector<float> w = normal(n, 50 + seed);
    const std::vector<InputMoments> parts = {part(0, 1, 0, n, seed)};
    const OutputFit fit(w, 1, parts, 0);
    CodebookTensor c = start(CodebookSpec::fixed({-1, 1}), w, 1);
    nearest += error(parts, w, c, n);
    fit.round(c);
    const double after_round = error(parts, w, c, n);
    fit.descend(c, 10);
    const double after = error(parts, w, c, n);
    EXPECT_LE(after, after_round * (1 + 1e-6));
    double least = std::numeric_limits<double>::infinity();
    for (int codes = 0; codes < 1 << n; ++codes) {
      std::vector<float> q(n);
      for (int i = 0; i < n; ++i) q[static_cast<std::size_t>(i)] = codes >> i & 1 ? 1.0f : -1.0f;
      least = std::min(least, error(parts, w, q, n));
    }
    EXPECT_GE(after, least * (1 - 1e-5));
    found += after < least * (1 + 1e-5);
    rounded += after_round, descended += after, best += least;
  }
  EXPECT_LT(rounded, 0.75 * nearest);
  EXPECT_LT(descended, 0.9 * rounded);
  EXPECT_LT(descended, 1.4 * best);
  EXPECT_GE(found, 8);
}

// Column by column with the inverse made anew each time, as Optimal Brain Surgeon has it.
TEST(OutputFit, RoundIsGptqAlsoBeyondABlock) {
  const std::int64_t rows = 3, n = 150;
  const std::vector<float> w = normal(rows * n, 7);
  const std::vector<InputMoments> parts = {part(0, rows, 0, n, 8)};
  CodebookTensor got = start(CodebookSpec::adaptive(4), w, rows);
  const CodebookTensor before = got;
  OutputFit(w, rows, parts, 0.01).round(got);
  std::vector<double> h(parts[0].moments.begin(), parts[0].moments.end());
  double trace = 0;
  for (std::int64_t i = 0; i < n; ++i) trace += h[static_cast<std::size_t>(i * (n + 1))];
  for (std::int64_t i = 0; i < n; ++i) h[static_cast<std::size_t>(i * (n + 1))] += 0.01 * trace / n;
  std::vector<double> x(w.begin(), w.end());
  int differ = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    // inverse(H of the columns from j on): its first row, by solving with e_1.
    const std::int64_t m = n - j;
    std::vector<double> rest(static_cast<std::size_t>(m * m)), unit(static_cast<std::size_t>(m));
    for (std::int64_t a = 0; a < m; ++a) {
      for (std::int64_t b = 0; b < m; ++b)
        rest[static_cast<std::size_t>(a * m + b)] =
            h[static_cast<std::size_t>((a + j) * n + b + j)];
    }
    unit[0] = 1;
    const std::vector<double> inverse = linalg::solve_semidefinite(rest, unit, 1e-15);
    for (std::int64_t r = 0; r < rows; ++r) {
      double* const row = &x[static_cast<std::size_t>(r * n)];
      std::size_t code = 0;
      for (std::size_t k = 1; k < 4; ++k) {
        if (std::abs(row[j] - before.entries[k]) < std::abs(row[j] - before.entries[code]))
          code = k;
      }
      differ += got.indices[static_cast<std::size_t>(r * n + j)] != code;
      const double miss = (row[j] - before.entries[code]) / inverse[0];
      for (std::int64_t l = j; l < n; ++l)
        row[l] -= miss * inverse[static_cast<std::size_t>(l - j)];
    }
  }
  EXPECT_LE(differ, 2);  // of 450: rounding to f32 may part ties
  EXPECT_EQ(got.entries, before.entries);
}

TEST(OutputFit, NoSingleCodeCanBeBettered) {
  const std::int64_t rows = 5, n = 20;
  const std::vector<float> w = normal(rows * n, 3);
  const std::vector<InputMoments> parts = {part(0, rows, 0, n, 4)};
  const OutputFit fit(w, rows, parts, 0);
  CodebookTensor c = start(CodebookSpec::adaptive(3), w, rows, 2);
  EXPECT_GT(fit.descend(c, 100), 0);
  EXPECT_EQ(fit.descend(c, 1), 0);
  const double now = error(parts, w, c, n);
  for (std::size_t i = 0; i < c.indices.size(); ++i) {
    const std::uint8_t code = c.indices[i];
    for (std::uint8_t k = 0; k < 3; ++k) {
      c.indices[i] = k;
      EXPECT_GE(error(parts, w, c, n), now * (1 - 1e-5)) << i;
    }
    c.indices[i] = code;
  }
}

// The entries of given codes by the whole system of normal equations.
std::vector<double> best_entries(const std::vector<InputMoments>& parts, std::span<const float> w,
                                 const CodebookTensor& c, std::int64_t columns, std::int64_t row,
                                 std::int64_t rows) {
  const auto k = static_cast<std::size_t>(c.k);
  std::vector<double> a(k * k), b(k);
  for (const InputMoments& p : parts) {
    for (std::int64_t r = std::max(row, p.row); r < std::min(row + rows, p.row + p.rows); ++r) {
      for (std::int64_t i = 0; i < p.columns; ++i) {
        for (std::int64_t j = 0; j < p.columns; ++j) {
          const auto at = static_cast<std::size_t>(r * columns + p.column + i),
                     to = static_cast<std::size_t>(r * columns + p.column + j);
          const double h = p.moments[static_cast<std::size_t>(i * p.columns + j)];
          a[c.indices[at] * k + c.indices[to]] += h;
          b[c.indices[at]] += h * w[to];
        }
      }
    }
  }
  return linalg::solve_semidefinite(a, b, 1e-12);
}

TEST(OutputFit, EntriesSolveTheNormalEquationsOfEachGroup) {
  const std::int64_t rows = 9, n = 30;
  const std::vector<float> w = normal(rows * n, 11);
  const std::vector<InputMoments> parts = {part(0, 5, 0, n, 12), part(5, 4, 0, 10, 13),
                                           part(5, 4, 10, 20, 14)};
  const OutputFit fit(w, rows, parts, 0);
  CodebookTensor c = start(CodebookSpec::adaptive(6), w, rows, 4);  // a group is in two parts
  const CodebookTensor before = c;
  fit.refit(c, CodebookSpec::adaptive(6));
  EXPECT_LT(error(parts, w, c, n), error(parts, w, before, n));
  for (std::int64_t g = 0; g < 3; ++g) {
    std::vector<double> best =
        best_entries(parts, w, before, n, 4 * g, std::min<std::int64_t>(4, rows - 4 * g));
    std::sort(best.begin(), best.end());
    for (std::size_t k = 0; k < 6; ++k)
      EXPECT_NEAR(c.entries[static_cast<std::size_t>(g) * 6 + k], best[k], 2e-3) << g << " " << k;
    EXPECT_TRUE(std::is_sorted(c.entries.begin() + g * 6, c.entries.begin() + (g + 1) * 6));
  }
}

TEST(OutputFit, OnlyWhatIsFreeInTheSpecMoves) {
  const std::int64_t rows = 4, n = 16;
  std::vector<float> w = normal(rows * n, 21);
  for (float& v : w) v *= 0.3f;
  const std::vector<InputMoments> parts = {part(0, rows, 0, n, 22)};
  const OutputFit fit(w, rows, parts, 0);
  const CodebookSpec fixed = CodebookSpec::fixed({-0.5f, 0, 0.5f}),
                     scaled = CodebookSpec::scaled({-1, 0, 2});
  CodebookTensor c = start(fixed, w, rows);
  const std::vector<float> entries = c.entries;
  fit.refit(c, fixed);
  EXPECT_EQ(c.entries, entries);
  c = start(scaled, w, rows);
  const double before = error(parts, w, c, n);
  fit.refit(c, scaled);
  EXPECT_FLOAT_EQ(c.entries[0] * -2, c.entries[2]);
  const double after = error(parts, w, c, n);
  EXPECT_LT(after, before);
  for (const float factor : {0.98f, 1.02f}) {
    CodebookTensor other = c;
    for (float& v : other.entries) v *= factor;
    EXPECT_GT(error(parts, w, other, n), after);
  }
}

// Codes that are far from nearest: entries change their order, and weights keep their entries.
TEST(OutputFit, EntriesThatPassEachOtherTakeTheirWeightsAlong) {
  const std::vector<float> w = {5, 5, 1, 1, 3, 3};
  InputMoments unit{0, 1, 0, 6, std::vector<float>(36)};
  for (std::size_t i = 0; i < 6; ++i) unit.moments[i * 7] = 1;
  CodebookTensor c = start(CodebookSpec::adaptive(3), w, 1);
  c.indices = {0, 0, 1, 1, 2, 2};
  OutputFit(w, 1, {unit}, 0).refit(c, CodebookSpec::adaptive(3));
  std::vector<float> q(6);
  c.decode(q);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(q[i], w[i], 1e-5) << i;
  EXPECT_EQ(c.indices, (std::vector<std::uint8_t>{2, 2, 0, 0, 1, 1}));
}

TEST(OutputFit, UncorrelatedInputsGiveKMeans) {
  const std::int64_t rows = 6, n = 40;
  const std::vector<float> w = normal(rows * n, 31);
  InputMoments unit{0, rows, 0, n, std::vector<float>(static_cast<std::size_t>(n * n))};
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) unit.moments[i * (n + 1)] = 2;
  const OutputFit fit(w, rows, {unit}, 0.01);
  const CodebookTensor best = start(CodebookSpec::adaptive(4), w, rows);
  CodebookTensor c = best;
  fit.round(c);
  EXPECT_EQ(c.indices, best.indices);
  EXPECT_EQ(fit.descend(c, 3), 0);
  fit.refit(c, CodebookSpec::adaptive(4));
  for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(c.entries[k], best.entries[k], 1e-5);
}

TEST(OutputFit, InputsThatAreAlwaysZeroLeaveNearestEntries) {
  const std::vector<float> w = normal(12, 41);
  const InputMoments nothing{0, 2, 0, 6, std::vector<float>(36)};
  const OutputFit fit(w, 2, {nothing}, 0.01);
  const CodebookTensor nearest = start(CodebookSpec::adaptive(3), w, 2);
  CodebookTensor c = nearest;
  fit.round(c);
  EXPECT_EQ(c.indices, nearest.indices);
  // Some of them without damping: no inverse.
  InputMoments some = nothing;
  some.moments[0] = 1;
  EXPECT_NE(error_of([&] { OutputFit(w, 2, {some}, 0).round(c); }).find("singular"),
            std::string::npos);
}

TEST(OutputFit, ThreadsDoNotChangeBits) {
  const std::int64_t rows = 100, n = 90;
  const std::vector<float> w = normal(rows * n, 51);
  const std::vector<InputMoments> parts = {part(0, 60, 0, n, 52), part(60, 40, 0, n, 53)};
  const int before = num_threads();
  const auto all = [&](int threads) {
    set_num_threads(threads);
    const OutputFit fit(w, rows, parts, 0.01);
    CodebookTensor c = start(CodebookSpec::adaptive(4), w, rows, 8);
    fit.round(c);
    fit.refit(c, CodebookSpec::adaptive(4));
    fit.descend(c, 2);
    return std::tuple(c.indices, c.entries, fit.error(c));
  };
  const auto one = all(1);
  EXPECT_EQ(one, all(3));
  set_num_threads(before);
}

}  // namespace
}  // namespace tessera::quant
