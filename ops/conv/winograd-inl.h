// The transforms on sixteen-wide vectors.
#pragma once

#include "ops/conv/winograd_kernels.h"

namespace {

using tessera::WinogradKernels;
using V = float __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16;

inline V load(const float* p) {
  V out;
  __builtin_memcpy(&out, p, sizeof(V));
  return out;
}
inline void store(float* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

// One-dimensional transforms: from[i * fs] to to[j * ts].
inline void input_line(const V* d, int64_t fs, V* t, int64_t ts) {
  const V d0 = d[0], d1 = d[fs], d2 = d[2 * fs], d3 = d[3 * fs], d4 = d[4 * fs], d5 = d[5 * fs];
  const V a = d4 - 4.0f * d2, b = d3 - 4.0f * d1, c = d4 - d2, e = 2.0f * (d3 - d1);
  t[0] = 4.0f * d0 - 5.0f * d2 + d4;
  t[ts] = a + b;
  t[2 * ts] = a - b;
  t[3 * ts] = c + e;
  t[4 * ts] = c - e;
  t[5 * ts] = 4.0f * d1 - 5.0f * d3 + d5;
}

inline void output_line(const V* m, int64_t fs, V* t, int64_t ts) {
  const V a = m[fs] + m[2 * fs], b = m[fs] - m[2 * fs];
  const V c = m[3 * fs] + m[4 * fs], d = m[3 * fs] - m[4 * fs];
  t[0] = m[0] + a + c;
  t[ts] = b + 2.0f * d;
  t[2 * ts] = a + 4.0f * c;
  t[3 * ts] = b + 8.0f * d + m[5 * fs];
}

inline void output_transposed_line(const V* y, int64_t fs, V* t, int64_t ts) {
  const V y0 = y[0], y1 = y[fs], y2 = y[2 * fs], y3 = y[3 * fs];
  const V a = y0 + y2, b = y1 + y3, c = y0 + 4.0f * y2, d = 2.0f * y1 + 8.0f * y3;
  t[0] = y0;
  t[ts] = a + b;
  t[2 * ts] = a - b;
  t[3 * ts] = c + d;
  t[4 * ts] = c - d;
  t[5 * ts] = y3;
}

inline void filter_line(const V* g, int64_t fs, V* t, int64_t ts) {
  const V a = g[0] + g[2 * fs], b = g[0] + 4.0f * g[2 * fs];
  t[0] = 0.25f * g[0];
  t[ts] = (-1.0f / 6) * (a + g[fs]);
  t[2 * ts] = (-1.0f / 6) * (a - g[fs]);
  t[3 * ts] = (1.0f / 24) * (b + 2.0f * g[fs]);
  t[4 * ts] = (1.0f / 24) * (b - 2.0f * g[fs]);
  t[5 * ts] = g[2 * fs];
}

inline void filter_transposed_line(const V* u, int64_t fs, V* t, int64_t ts) {
  const V a = (-1.0f / 6) * (u[fs] + u[2 * fs]), b = (-1.0f / 6) * (u[fs] - u[2 * fs]);
  const V c = (1.0f / 24) * (u[3 * fs] + u[4 * fs]), d = (1.0f / 24) * (u[3 * fs] - u[4 * fs]);
  t[0] = 0.25f * u[0] + a + c;
  t[ts] = b + 2.0f * d;
  t[2 * ts] = a + 4.0f * c + u[5 * fs];
}

void input(const float* d, int64_t ld, float* v, int64_t stride) {
  V t[36], row[6], out[6];
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t j = 0; j < 6; ++j) row[j] = load(d + i * ld + j * kLanes);
    input_line(row, 1, t + i * 6, 1);
  }
  for (int64_t j = 0; j < 6; ++j) {
    input_line(t + j, 6, out, 1);
    for (int64_t i = 0; i < 6; ++i) store(v + (i * 6 + j) * stride, out[i]);
  }
}

void output(const float* m, int64_t stride, float* y, int64_t ld) {
  V t[24], row[6], out[4];
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t j = 0; j < 6; ++j) row[j] = load(m + (i * 6 + j) * stride);
    output_line(row, 1, t + i * 4, 1);
  }
  for (int64_t j = 0; j < 4; ++j) {
    output_line(t + j, 4, out, 1);
    for (int64_t i = 0; i < 4; ++i) store(y + i * ld + j * kLanes, out[i]);
  }
}

void output_transposed(const float* dy, int64_t ld, float* m, int64_t stride) {
  V t[24], row[4], out[6];
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) row[j] = load(dy + i * ld + j * kLanes);
    output_transposed_line(row, 1, t + i * 6, 1);
  }
  for (int64_t j = 0; j < 6; ++j) {
    output_transposed_line(t + j, 6, out, 1);
    for (int64_t i = 0; i < 6; ++i) store(m + (i * 6 + j) * stride, out[i]);
  }
}

void filter(const float* g, int64_t filter_stride, int64_t tap_stride, float* u, int64_t stride) {
  V taps[9], t[18], out[6];
  for (int64_t q = 0; q < 9; ++q) {
    if (filter_stride == 1) {
      taps[q] = load(g + q * tap_stride);
      continue;
    }
    for (int64_t l = 0; l < kLanes; ++l) taps[q][l] = g[l * filter_stride + q * tap_stride];
  }
  for (int64_t i = 0; i < 3; ++i) filter_line(taps + i * 3, 1, t + i * 6, 1);
  for (int64_t j = 0; j < 6; ++j) {
    filter_line(t + j, 6, out, 1);
    for (int64_t i = 0; i < 6; ++i) store(u + (i * 6 + j) * stride, out[i]);
  }
}

void filter_transposed(const float* u, int64_t stride, float* g, int64_t filter_stride,
                       int64_t lanes) {
  V t[18], row[6], out[3];
  for (int64_t i = 0; i < 6; ++i) {
    for (int64_t j = 0; j < 6; ++j) row[j] = load(u + (i * 6 + j) * stride);
    filter_transposed_line(row, 1, t + i * 3, 1);
  }
  for (int64_t j = 0; j < 3; ++j) {
    filter_transposed_line(t + j, 3, out, 1);
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t l = 0; l < lanes; ++l) g[l * filter_stride + i * 3 + j] = out[i][l];
    }
  }
}

constexpr WinogradKernels winograd_kernels(const char* name) {
  return {name, input, output, output_transposed, filter, filter_transposed};
}

}  // namespace
