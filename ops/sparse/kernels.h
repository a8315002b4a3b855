// Kernels of sparse weights: plain structs between rows.cpp and the files compiled with wide
// instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

// Rows of a sparse matrix: values [starts[r], starts[r + 1]) stand in row r at `columns`.
struct SparseRows {
  const int32_t* starts;
  const int32_t* columns;
  const float* values;
  int64_t rows;
};

constexpr int64_t kSparseBlock = 16;  // rows of x that `block` takes at once

struct SparseKernels {
  // y[r] = sum_j values[j] x[columns[j]] for rows [row0, row1), j ascending.
  void (*vector)(const SparseRows& s, const float* x, int64_t row0, int64_t row1, float* y);
  // y[i * ldy + r] = the same for the rows i < count <= kSparseBlock of x, each of `width`
  // elements. work: width * kSparseBlock floats.
  void (*block)(const SparseRows& s, const float* x, int64_t ldx, int64_t count, int64_t width,
                float* work, float* y, int64_t ldy);
  // y[i * y_ld + j] += value * x[i * x_ld + j * x_step].
  void (*add_lines)(float value, const float* x, int64_t x_ld, int64_t x_step, int64_t rows,
                    int64_t cols, float* y, int64_t y_ld);
};

extern "C" const SparseKernels tessera_sparse_ref;
#if defined(__x86_64__)
extern "C" const SparseKernels tessera_sparse_avx2;
extern "C" const SparseKernels tessera_sparse_avx512;
#endif

}  // namespace tessera
