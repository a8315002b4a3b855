// The reduction loops, compiled once for each instruction set; the compiler turns the fixed-length
// inner loops into vectors.
#pragma once

#include "ops/reduce/kernels.h"

namespace {

using tessera::ReduceKernels;
using tessera::ReduceKind;

constexpr int64_t kWidth = 64;

template <ReduceKind kind>
inline float join(float a, float b) {
  if constexpr (kind == ReduceKind::sum) return a + b;
  return b > a || b != b ? b : a;  // NaN wins and stays
}

template <ReduceKind kind>
void line(const float* x, int64_t n, float* out) {
  constexpr float kStart = kind == ReduceKind::sum ? 0.0f : -__builtin_inff();
  float lanes[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) lanes[i] = kStart;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    for (int64_t l = 0; l < kWidth; ++l) lanes[l] = join<kind>(lanes[l], x[i + l]);
  }
  for (int64_t l = 0; i + l < n; ++l) lanes[l] = join<kind>(lanes[l], x[i + l]);
  for (int64_t w = kWidth / 2; w > 0; w /= 2) {
    for (int64_t l = 0; l < w; ++l) lanes[l] = join<kind>(lanes[l], lanes[l + w]);
  }
  out[0] = lanes[0];
}

template <ReduceKind kind>
void columns(const float* x, int64_t rows, int64_t cols, int64_t ld, float* out) {
  int64_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    float lanes[kWidth];
    for (int64_t l = 0; l < kWidth; ++l) lanes[l] = x[c + l];
    for (int64_t r = 1; r < rows; ++r) {
      const float* row = x + r * ld + c;
      for (int64_t l = 0; l < kWidth; ++l) lanes[l] = join<kind>(lanes[l], row[l]);
    }
    for (int64_t l = 0; l < kWidth; ++l) out[c + l] = lanes[l];
  }
  if (c == cols) return;
  for (int64_t l = c; l < cols; ++l) out[l] = x[l];
  for (int64_t r = 1; r < rows; ++r) {
    const float* row = x + r * ld;
    for (int64_t l = c; l < cols; ++l) out[l] = join<kind>(out[l], row[l]);
  }
}

constexpr ReduceKernels reduce_kernels(const char* name) {
  return {name,
          {line<ReduceKind::sum>, line<ReduceKind::max>},
          {columns<ReduceKind::sum>, columns<ReduceKind::max>}};
}

}  // namespace
