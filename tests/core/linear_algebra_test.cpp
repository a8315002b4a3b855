#include "core/linear_algebra.h"

#include <gtest/gtest.h>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"

namespace tessera::linalg {
namespace {

std::vector<float> random_rows(int rows, int cols, std::uint64_t seed) {
  Rng rng(seed, 1);
  std::vector<float> w(static_cast<std::size_t>(rows * cols));
  for (float& v : w) v = static_cast<float>(rng.normal());
  return w;
}

double at(const std::vector<double>& m, int n, int r, int c) {
  return m[static_cast<std::size_t>(r * n + c)];
}

TEST(LinearAlgebra, GramIsRowsTimesRows) {
  for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 5}, {7, 1300}, {40, 2}}) {
    const std::vector<float> w = random_rows(rows, cols, 3);
    const std::vector<double> g = gram(w, rows);
    for (int a = 0; a < rows; ++a) {
      for (int b = 0; b < rows; ++b) {
        double sum = 0;
        for (int c = 0; c < cols; ++c)
          sum += double{w[static_cast<std::size_t>(a * cols + c)]} *
                 w[static_cast<std::size_t>(b * cols + c)];
        EXPECT_NEAR(at(g, rows, a, b), sum, 1e-10 * (1 + std::abs(sum))) << rows << " " << cols;
      }
    }
  }
}

TEST(LinearAlgebra, EigenvectorsAreLeadingAndOrthonormal) {
  const int n = 9, k = 4;
  const std::vector<double> g = gram(random_rows(n, 30, 5), n);
  const std::vector<double> v = leading_eigenvectors(g, n, k, 0);
  double last = std::numeric_limits<double>::infinity(), trace = 0, seen = 0;
  for (int i = 0; i < n; ++i) trace += at(g, n, i, i);
  for (int j = 0; j < k; ++j) {
    std::vector<double> image(n);
    double value = 0;
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < n; ++c) image[r] += at(g, n, r, c) * at(v, n, j, c);
      value += image[r] * at(v, n, j, r);
    }
    for (int r = 0; r < n; ++r) EXPECT_NEAR(image[r], value * at(v, n, j, r), 1e-9 * trace);
    for (int i = 0; i <= j; ++i) {
      double dot = 0;
      for (int r = 0; r < n; ++r) dot += at(v, n, i, r) * at(v, n, j, r);
      EXPECT_NEAR(dot, i == j, 1e-12);
    }
    EXPECT_LT(value, last);
    last = value;
    seen += value;
  }
  EXPECT_GT(seen, trace * k / n);  // the large ones, not the small
}

TEST(LinearAlgebra, EigenvectorsBeyondTheRankAreZero) {
  const int n = 6;
  const std::vector<double> g = gram(random_rows(n, 2, 6), n);  // rank 2
  const std::vector<double> v = leading_eigenvectors(g, n, 10, 1e-10);
  ASSERT_EQ(v.size(), std::size_t{n * n});
  for (int j = 0; j < n; ++j) {
    double size = 0;
    for (int r = 0; r < n; ++r) size += std::pow(at(v, n, j, r), 2);
    EXPECT_NEAR(size, j < 2, 1e-12) << j;
  }
}

TEST(LinearAlgebra, SolvesDefiniteAndSemidefiniteSystems) {
  for (const int rank : {1, 3, 5}) {
    const int n = 5;
    const std::vector<double> a = gram(random_rows(n, rank, 7), n);
    std::vector<double> b(n);
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < n; ++c) b[r] += at(a, n, r, c) * (c - 1.5);
    }
    const std::vector<double> x = solve_semidefinite(a, b, 1e-12);
    int zeros = 0;
    for (int r = 0; r < n; ++r) {
      double sum = 0;
      for (int c = 0; c < n; ++c) sum += at(a, n, r, c) * x[c];
      EXPECT_NEAR(sum, b[r], 1e-9) << rank;
      zeros += x[r] == 0;
      if (rank == n) {
        EXPECT_NEAR(x[r], r - 1.5, 1e-8);
      }
    }
    EXPECT_EQ(zeros, n - rank);
  }
  EXPECT_EQ(solve_semidefinite(std::vector<double>(4), std::vector<double>{1, 2}, 1e-12),
            std::vector<double>(2));
}

TEST(LinearAlgebra, InverseCholesky) {
  const int n = 12;
  const std::vector<double> a = gram(random_rows(n, 50, 8), n);
  std::vector<double> u = a;
  ASSERT_TRUE(inverse_cholesky(u, n));
  for (int r = 0; r < n; ++r) {
    for (int c = 0; c < n; ++c) {
      if (c < r) {
        EXPECT_EQ(at(u, n, r, c), 0);
      }
      // A U'U = I
      double sum = 0;
      for (int k = 0; k < n; ++k) {
        for (int j = 0; j < n; ++j) sum += at(a, n, r, k) * at(u, n, j, k) * at(u, n, j, c);
      }
      EXPECT_NEAR(sum, r == c, 1e-9);
    }
  }
  std::vector<double> flat = gram(random_rows(4, 1, 9), 4);
  EXPECT_FALSE(inverse_cholesky(flat, 4));
  std::vector<double> negative = {1, 0, 0, -1};
  EXPECT_FALSE(inverse_cholesky(negative, 2));
}

TEST(LinearAlgebra, ValuesThatAreNoNumbersAreErrors) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(leading_eigenvectors(std::vector<double>{nan, 0, 0, 1}, 2, 1, 0), Error);
  EXPECT_THROW(
      solve_semidefinite(std::vector<double>{1, nan, nan, 1}, std::vector<double>{1, 1}, 0), Error);
  std::vector<double> a = {nan, 0, 0, 1};
  EXPECT_THROW(inverse_cholesky(a, 2), Error);
}

TEST(LinearAlgebra, ThreadsDoNotChangeBits) {
  const int n = 150;
  const std::vector<float> w = random_rows(n, 700, 10);
  const int before = num_threads();
  const auto all = [&](int threads) {
    set_num_threads(threads);
    const std::vector<double> g = gram(w, n);
    std::vector<double> u = g;
    EXPECT_TRUE(inverse_cholesky(u, n));
    return std::tuple(g, leading_eigenvectors(g, n, 5, 0), u,
                      solve_semidefinite(g, std::vector<double>(n, 1.0), 1e-12));
  };
  const auto one = all(1);
  EXPECT_EQ(one, all(4));
  set_num_threads(before);
}

}  // namespace
}  // namespace tessera::linalg
