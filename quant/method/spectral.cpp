#include "quant/method/spectral.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/rng.h"

namespace tessera::quant {

namespace {

using Columns = std::vector<std::vector<double>>;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Modified Gram-Schmidt, twice; a column that depends on those before it becomes zero.
void orthonormalize(Columns& columns, double tiny) {
  for (std::size_t j = 0; j < columns.size(); ++j) {
    for (int round = 0; round < 2; ++round) {
      for (std::size_t i = 0; i < j; ++i) {
        const double along = dot(columns[i], columns[j]);
        for (std::size_t r = 0; r < columns[j].size(); ++r) columns[j][r] -= along * columns[i][r];
      }
    }
    const double size = std::sqrt(dot(columns[j], columns[j]));
    for (double& v : columns[j]) v = size > tiny ? v / size : 0;
  }
}

}  // namespace

Tensor leading_left_vectors(const Tensor& weight, int k) {
  check(k >= 1, "[spectral] needs at least one vector, got ", k);
  const auto w = weight.span<float>();
  const auto rows = static_cast<std::size_t>(weight.shape()[0].value());
  const std::size_t cols = w.size() / rows, count = std::min(rows, static_cast<std::size_t>(k));
  std::vector<double> gram(rows * rows);
  double trace = 0;
  for (std::size_t a = 0; a < rows; ++a) {
    for (std::size_t b = 0; b <= a; ++b) {
      double sum = 0;
      for (std::size_t c = 0; c < cols; ++c)
        sum += static_cast<double>(w[a * cols + c]) * w[b * cols + c];
      gram[a * rows + b] = gram[b * rows + a] = sum;
    }
    trace += gram[a * rows + a];
  }
  Rng rng(1, stable_id("leading_left_vectors"));
  Columns basis(count, std::vector<double>(rows));
  for (auto& column : basis) {
    for (double& v : column) v = rng.normal();
  }
  orthonormalize(basis, 0);
  for (int round = 0; round < 200; ++round) {
    Columns next(count, std::vector<double>(rows));
    for (std::size_t j = 0; j < count; ++j) {
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < rows; ++c) next[j][r] += gram[r * rows + c] * basis[j][c];
      }
    }
    orthonormalize(next, 1e-13 * trace);
    // What of the new subspace lies outside the old one.
    double moved = 0;
    for (const auto& column : next) {
      double inside = 0;
      for (const auto& old : basis) inside += std::pow(dot(old, column), 2);
      moved = std::max(moved, dot(column, column) - inside);
    }
    basis = std::move(next);
    if (moved < 1e-14) break;
  }
  Tensor out(DType::f32, {static_cast<std::int64_t>(rows), k});
  auto values = out.span<float>();
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t r = 0; r < rows; ++r)
      values[r * static_cast<std::size_t>(k) + j] = static_cast<float>(basis[j][r]);
  }
  return out;
}

}  // namespace tessera::quant
