// The loops over sparse weights, compiled once for each instruction set; the compiler turns the
// fixed-length inner loops into vectors.
#pragma once

#include "ops/sparse/kernels.h"

namespace {

using tessera::kSparseBlock;
using tessera::SparseKernels;
using tessera::SparseRows;

void sparse_vector(const SparseRows& s, const float* x, int64_t row0, int64_t row1, float* y) {
  for (int64_t r = row0; r < row1; ++r) {
    float sum = 0;
    for (int64_t j = s.starts[r]; j < s.starts[r + 1]; ++j) sum += s.values[j] * x[s.columns[j]];
    y[r] = sum;
  }
}

void sparse_block(const SparseRows& s, const float* x, int64_t ldx, int64_t count, int64_t width,
                  float* work, float* y, int64_t ldy) {
  // work[c][i] = x[i][c]: one value of the weight then meets one vector.
  constexpr int64_t kLine = 16;
  for (int64_t c0 = 0; c0 < width; c0 += kLine) {
    const int64_t c1 = c0 + kLine < width ? c0 + kLine : width;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = c0; c < c1; ++c) work[c * kSparseBlock + i] = x[i * ldx + c];
    }
    for (int64_t i = count; i < kSparseBlock; ++i) {
      for (int64_t c = c0; c < c1; ++c) work[c * kSparseBlock + i] = 0;
    }
  }
  for (int64_t r0 = 0; r0 < s.rows; r0 += kLine) {
    const int64_t r1 = r0 + kLine < s.rows ? r0 + kLine : s.rows;
    float tile[kLine][kSparseBlock];
    for (int64_t r = r0; r < r1; ++r) {
      float sums[kSparseBlock] = {};
      for (int64_t j = s.starts[r]; j < s.starts[r + 1]; ++j) {
        const float* line = work + s.columns[j] * kSparseBlock;
        for (int64_t i = 0; i < kSparseBlock; ++i) sums[i] += s.values[j] * line[i];
      }
      for (int64_t i = 0; i < kSparseBlock; ++i) tile[r - r0][i] = sums[i];
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t r = r0; r < r1; ++r) y[i * ldy + r] = tile[r - r0][i];
    }
  }
}

void sparse_add_lines(float value, const float* x, int64_t x_ld, int64_t x_step, int64_t rows,
                      int64_t cols, float* y, int64_t y_ld) {
  if (x_step == 1 && x_ld == cols && y_ld == cols) {  // lines without a gap are one line
    cols *= rows;
    rows = 1;
  }
  for (int64_t i = 0; i < rows; ++i, x += x_ld, y += y_ld) {
    if (x_step == 1) {
      for (int64_t j = 0; j < cols; ++j) y[j] += value * x[j];
    } else {
      for (int64_t j = 0; j < cols; ++j) y[j] += value * x[j * x_step];
    }
  }
}

constexpr SparseKernels sparse_kernels() {
  return {sparse_vector, sparse_block, sparse_add_lines};
}

}  // namespace
