#include "core/linear_algebra.h"

#include <cblas.h>
#include <lapacke.h>
#include <algorithm>
#include <cstddef>

#include "core/error.h"
#include "core/threads.h"

namespace tessera::linalg {
namespace {

// A symmetric matrix is its own transpose, so LAPACK gets rows as columns and copies nothing:
// its lower triangle is our upper one.
constexpr int kLayout = LAPACK_COL_MAJOR;

std::size_t area(int n) {
  return static_cast<std::size_t>(n) * static_cast<std::size_t>(n);
}

void succeed(lapack_int info, const char* what) {
  check(info == 0, "[", what, "] LAPACK reports ", info,
        info < 0 ? ": a value is not a number" : "");
}

}  // namespace

std::vector<double> gram(std::span<const float> w, int rows) {
  TESSERA_ASSERT(rows >= 1 && w.size() % static_cast<std::size_t>(rows) == 0);
  const ThreadScope one(1);
  const std::size_t n = static_cast<std::size_t>(rows), cols = w.size() / n;
  const std::size_t most = 512;
  std::vector<double> out(area(rows)), part(n * std::min(cols, most));
  for (std::size_t begin = 0; begin < cols; begin += most) {
    const std::size_t width = std::min(most, cols - begin);
    for (std::size_t r = 0; r < n; ++r) std::copy_n(&w[r * cols + begin], width, &part[r * width]);
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, rows, static_cast<int>(width), 1,
                part.data(), static_cast<int>(width), 1, out.data(), rows);
  }
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t c = 0; c < r; ++c) out[r * n + c] = out[c * n + r];
  }
  return out;
}

std::vector<double> leading_eigenvectors(std::span<const double> symmetric, int n, int k,
                                         double tiny) {
  TESSERA_ASSERT(n >= 1 && k >= 1 && symmetric.size() == area(n));
  const ThreadScope one(1);
  const int count = std::min(n, k);
  std::vector<double> a(symmetric.begin(), symmetric.end()), values(static_cast<std::size_t>(n)),
      vectors(static_cast<std::size_t>(n) * static_cast<std::size_t>(count));
  std::vector<lapack_int> support(2 * static_cast<std::size_t>(count));
  lapack_int found = 0;
  succeed(LAPACKE_dsyevr(kLayout, 'V', 'I', 'L', n, a.data(), n, 0, 0, n - count + 1, n, 0, &found,
                         values.data(), vectors.data(), n, support.data()),
          "leading_eigenvectors");
  std::vector<double> out(vectors.size());
  for (int j = 0; j < count; ++j) {  // LAPACK's order is ascending
    if (values[static_cast<std::size_t>(count - 1 - j)] <= tiny) continue;
    std::copy_n(vectors.begin() + std::ptrdiff_t(count - 1 - j) * n, n,
                out.begin() + std::ptrdiff_t(j) * n);
  }
  return out;
}

std::vector<double> solve_semidefinite(std::span<const double> a, std::span<const double> b,
                                       double flat) {
  const auto n = static_cast<int>(b.size());
  TESSERA_ASSERT(a.size() == area(n));
  const ThreadScope one(1);
  double top = 0;
  for (int i = 0; i < n; ++i) top = std::max(top, a[static_cast<std::size_t>(i * n + i)]);
  std::vector<double> factor(a.begin(), a.end()), y(b.size()), x(b.size());
  std::vector<lapack_int> pivots(b.size());
  lapack_int rank = 0;
  if (!(top > 0)) return x;
  const lapack_int info =
      LAPACKE_dpstrf(kLayout, 'L', n, factor.data(), n, pivots.data(), &rank, flat * top);
  if (info < 0) succeed(info, "solve_semidefinite");
  for (int i = 0; i < rank; ++i) y[static_cast<std::size_t>(i)] = b[pivots[i] - 1];
  for (const CBLAS_TRANSPOSE turn : {CblasNoTrans, CblasTrans})
    cblas_dtrsv(CblasColMajor, CblasLower, turn, CblasNonUnit, rank, factor.data(), n, y.data(), 1);
  for (int i = 0; i < rank; ++i) x[pivots[i] - 1] = y[static_cast<std::size_t>(i)];
  return x;
}

void add_gram(std::span<const float> rows, std::span<float> out, int n) {
  TESSERA_ASSERT(out.size() == area(n) && rows.size() % static_cast<std::size_t>(n) == 0);
  const ThreadScope one(1);
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, n,
              static_cast<int>(rows.size() / static_cast<std::size_t>(n)), 1, rows.data(), n, 1,
              out.data(), n);
}

void add_gram_of_columns(std::span<const float> columns, std::span<float> out, int n) {
  TESSERA_ASSERT(out.size() == area(n) && columns.size() % static_cast<std::size_t>(n) == 0);
  const ThreadScope one(1);
  const auto m = static_cast<int>(columns.size() / static_cast<std::size_t>(n));
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasNoTrans, n, m, 1, columns.data(), m, 1, out.data(),
              n);
}

namespace {

void product(float sign, float keep, std::span<const float> a, std::span<const float> b, int ldb,
             std::span<float> out, int ldout, int m, int n, int k) {
  if (m == 0 || n == 0) return;
  const ThreadScope one(1);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, sign, a.data(), k, b.data(), ldb,
              keep, out.data(), ldout);
}

}  // namespace

void multiply(std::span<const float> a, std::span<const float> b, int ldb, std::span<float> out,
              int ldout, int m, int n, int k) {
  product(1, 0, a, b, ldb, out, ldout, m, n, k);
}

void subtract_product(std::span<const float> a, std::span<const float> b, int ldb,
                      std::span<float> out, int ldout, int m, int n, int k) {
  product(-1, 1, a, b, ldb, out, ldout, m, n, k);
}

void add_scaled(float factor, std::span<const float> from, std::span<float> to) {
  TESSERA_ASSERT(from.size() == to.size());
  const ThreadScope one(1);
  cblas_saxpy(static_cast<int>(from.size()), factor, from.data(), 1, to.data(), 1);
}

bool inverse_cholesky(std::span<double> a, int n) {
  TESSERA_ASSERT(a.size() == area(n));
  const ThreadScope one(1);
  // Inverse by its factor, then the factor of that; in LAPACK's order U' is the lower triangle.
  for (const bool invert : {true, false}) {
    lapack_int info = LAPACKE_dpotrf(kLayout, 'L', n, a.data(), n);
    if (info == 0 && invert) info = LAPACKE_dpotri(kLayout, 'L', n, a.data(), n);
    if (info > 0) return false;
    succeed(info, "inverse_cholesky");
  }
  for (std::size_t r = 1; r < static_cast<std::size_t>(n); ++r)
    std::fill_n(a.begin() + static_cast<std::ptrdiff_t>(r) * n, r, 0.0);
  return true;
}

}  // namespace tessera::linalg
