// The loops over sparse weights, compiled once for each instruction set; the compiler turns the
// fixed-length inner loops into vectors.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "ops/sparse/kernels.h"

namespace {

using tessera::kSparseBlock;
using tessera::SparseKernels;
using tessera::SparseRows;

// A block of rows as one value: one register or several, as the instruction set has them.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));

void sparse_vector(const SparseRows& s, const float* x, int64_t row0, int64_t row1, float* y) {
  for (int64_t r = row0; r < row1; ++r) {
    float sum = 0;
    for (int64_t j = s.starts[r]; j < s.starts[r + 1]; ++j) sum += s.values[j] * x[s.columns[j]];
    y[r] = sum;
  }
}

// to[c * ld_to + r] = from[r * ld_from + c].
void transpose(const float* from, int64_t ld_from, int64_t rows, int64_t cols, float* to,
               int64_t ld_to) {
  int64_t r4 = 0, c4 = 0;  // done in squares of four
#if defined(__x86_64__)
  r4 = rows / 4 * 4;
  c4 = cols / 4 * 4;
  for (int64_t c = 0; c < c4; c += 4) {
    for (int64_t r = 0; r < r4; r += 4) {
      const float* at = from + r * ld_from + c;
      __m128 a = _mm_loadu_ps(at), b = _mm_loadu_ps(at + ld_from);
      __m128 d = _mm_loadu_ps(at + 2 * ld_from), e = _mm_loadu_ps(at + 3 * ld_from);
      _MM_TRANSPOSE4_PS(a, b, d, e);
      float* out = to + c * ld_to + r;
      _mm_storeu_ps(out, a);
      _mm_storeu_ps(out + ld_to, b);
      _mm_storeu_ps(out + 2 * ld_to, d);
      _mm_storeu_ps(out + 3 * ld_to, e);
    }
  }
#endif
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < r4 ? c4 : 0; c < cols; ++c) to[c * ld_to + r] = from[r * ld_from + c];
  }
}

void sparse_block(const SparseRows& s, const float* x, int64_t ldx, int64_t count, int64_t width,
                  float* work, float* y, int64_t ldy) {
  // work[c][i] = x[i][c]: one value of the weight then meets one vector.
  transpose(x, ldx, count, width, work, kSparseBlock);
  for (int64_t c = 0; c < width && count < kSparseBlock; ++c) {
    for (int64_t i = count; i < kSparseBlock; ++i) work[c * kSparseBlock + i] = 0;
  }
  constexpr int64_t kTile = 16;
  for (int64_t r0 = 0; r0 < s.rows; r0 += kTile) {
    const int64_t rows = s.rows - r0 < kTile ? s.rows - r0 : kTile;
    float tile[kTile * kSparseBlock];
    for (int64_t r = 0; r < rows; ++r) {
      Lanes sums = {};
      for (int64_t j = s.starts[r0 + r]; j < s.starts[r0 + r + 1]; ++j) {
        sums += s.values[j] * *reinterpret_cast<const Lanes*>(work + s.columns[j] * kSparseBlock);
      }
      *reinterpret_cast<Lanes*>(tile + r * kSparseBlock) = sums;
    }
    transpose(tile, kSparseBlock, rows, count, y + r0, ldy);
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
