// Dense linear algebra by OpenBLAS and LAPACK: products, Gram matrices, leading eigenvectors,
// Cholesky factors, least squares. Matrices are row-major spans of n * n elements; symmetric ones
// are whole. Every call uses one thread, so that results do not depend on how many there are;
// they may differ in the last bits between CPUs, whose kernels OpenBLAS picks.
#pragma once

#include <span>
#include <vector>

namespace tessera::linalg {

// W W' of W f32[rows, cols], row-major: f64[rows, rows]. Takes cols from the span's size, in parts,
// so that no copy of W in f64 is made.
std::vector<double> gram(std::span<const float> w, int rows);

// The eigenvectors of the symmetric matrix with the k largest eigenvalues, the largest first:
// row j of f64[min(k, n), n] is the j-th. Those whose eigenvalue is at most `tiny` are zero rows:
// beyond a Gram matrix's rank any vector would do.
std::vector<double> leading_eigenvectors(std::span<const double> symmetric, int n, int k,
                                         double tiny);

// x that solves A x = b for a symmetric positive semidefinite A, by Cholesky with pivoting. Once no
// pivot is above `flat` times A's largest diagonal element, the unknowns that are left are 0.
std::vector<double> solve_semidefinite(std::span<const double> a, std::span<const double> b,
                                       double flat);

// out f32[n, n] += a' a for a f32[m, n], or a a' for a f32[n, m]; the upper triangle only.
void add_gram(std::span<const float> rows, std::span<float> out, int n);
void add_gram_of_columns(std::span<const float> columns, std::span<float> out, int n);

// out f32[m, n] = a f32[m, k] b f32[k, n], or out - a b; rows of b and out are ldb and ldout apart.
void multiply(std::span<const float> a, std::span<const float> b, int ldb, std::span<float> out,
              int ldout, int m, int n, int k);
void subtract_product(std::span<const float> a, std::span<const float> b, int ldb,
                      std::span<float> out, int ldout, int m, int n, int k);

// to += factor * from, of equal size.
void add_scaled(float factor, std::span<const float> from, std::span<float> to);

// The upper triangular U, with zeros below its diagonal, of inverse(A) = U' U for a symmetric
// positive definite A; false, and A is not usable any more, where A is not definite.
bool inverse_cholesky(std::span<double> a, int n);

}  // namespace tessera::linalg
