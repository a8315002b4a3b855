// Per-channel sums, compiled once for each instruction set. Sixty-four interleaved f32 accumulators
// in a fixed order, so the bits are the same everywhere.
#pragma once

#include "ops/norm/kernels.h"

namespace {

using tessera::NormKernels;

constexpr int64_t kWidth = 64;

// Adds the accumulators that belong to one channel: lane l of L.
template <int64_t L>
inline void fold(float* lanes, float* out) {
  for (int64_t w = kWidth / 2; w >= L; w /= 2) {
    for (int64_t l = 0; l < w; ++l) lanes[l] += lanes[l + w];
  }
  for (int64_t l = 0; l < L; ++l) out[l] = lanes[l];
}

template <int64_t L>
void moments(const float* x, int64_t pixels, const float* shift, float* sum, float* square) {
  float s[kWidth] = {}, q[kWidth] = {}, k[kWidth];
  for (int64_t l = 0; l < kWidth; ++l) k[l] = shift[l % L];
  const int64_t n = pixels * L;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    for (int64_t l = 0; l < kWidth; ++l) {
      const float v = x[i + l] - k[l];
      s[l] += v;
      q[l] += v * v;
    }
  }
  for (int64_t l = 0; i + l < n; ++l) {
    const float v = x[i + l] - k[l];
    s[l] += v;
    q[l] += v * v;
  }
  fold<L>(s, sum);
  fold<L>(q, square);
}

template <int64_t L>
void products(const float* dy, const float* x, int64_t pixels, const float* shift, float* sum,
              float* dot) {
  float s[kWidth] = {}, q[kWidth] = {}, k[kWidth];
  for (int64_t l = 0; l < kWidth; ++l) k[l] = shift[l % L];
  const int64_t n = pixels * L;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    for (int64_t l = 0; l < kWidth; ++l) {
      s[l] += dy[i + l];
      q[l] += dy[i + l] * (x[i + l] - k[l]);
    }
  }
  for (int64_t l = 0; i + l < n; ++l) {
    s[l] += dy[i + l];
    q[l] += dy[i + l] * (x[i + l] - k[l]);
  }
  fold<L>(s, sum);
  fold<L>(q, dot);
}

template <int64_t L>
void sums(const float* x, int64_t pixels, float* sum) {
  float s[kWidth] = {};
  const int64_t n = pixels * L;
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    for (int64_t l = 0; l < kWidth; ++l) s[l] += x[i + l];
  }
  for (int64_t l = 0; i + l < n; ++l) s[l] += x[i + l];
  fold<L>(s, sum);
}

constexpr NormKernels norm_kernels(const char* name) {
  return {name, {moments<1>, moments<16>}, {products<1>, products<16>}, {sums<1>, sums<16>}};
}

}  // namespace
