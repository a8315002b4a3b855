// The loops of upsampling, compiled once for each instruction set; the compiler turns the
// fixed-length inner loops over lanes into vectors.
#pragma once

#include "ops/upsample/kernels.h"

namespace {

using tessera::UpsampleKernels;
using tessera::UpsamplePlane;
using tessera::UpsampleTap;

template <int64_t L>
void nearest_forward(const UpsamplePlane& p, const float* x, float* y) {
  const int64_t f = p.factor, width = p.w * f * L;
  for (int64_t i = 0; i < p.h; ++i) {
    float* __restrict first = y + i * f * width;
    const float* __restrict from = x + i * p.w * L;
    for (int64_t j = 0; j < p.w; ++j) {
      for (int64_t k = 0; k < f; ++k) {
        for (int64_t l = 0; l < L; ++l) first[(j * f + k) * L + l] = from[j * L + l];
      }
    }
    for (int64_t k = 1; k < f; ++k) {
      float* __restrict next = first + k * width;
      for (int64_t e = 0; e < width; ++e) next[e] = first[e];
    }
  }
}

template <int64_t L>
void nearest_backward(const UpsamplePlane& p, const float* dy, float* dx) {
  const int64_t f = p.factor, width = p.w * f * L;
  for (int64_t i = 0; i < p.h; ++i) {
    float* __restrict to = dx + i * p.w * L;
    for (int64_t j = 0; j < p.w; ++j) {
      float sum[L];
      for (int64_t l = 0; l < L; ++l) sum[l] = 0;
      for (int64_t r = 0; r < f; ++r) {
        const float* __restrict from = dy + (i * f + r) * width + j * f * L;
        for (int64_t k = 0; k < f; ++k) {
          for (int64_t l = 0; l < L; ++l) sum[l] += from[k * L + l];
        }
      }
      for (int64_t l = 0; l < L; ++l) to[j * L + l] = sum[l];
    }
  }
}

template <int64_t L>
void bilinear_forward(const UpsamplePlane& p, const float* x, float* y) {
  const int64_t width = p.w * p.factor;
  for (int64_t i = 0; i < p.h * p.factor; ++i) {
    const UpsampleTap r = p.rows[i];
    const float* __restrict a = x + r.first * p.w * L;
    const float* __restrict b = x + r.second * p.w * L;
    float* __restrict out = y + i * width * L;
    for (int64_t j = 0; j < width; ++j) {
      const UpsampleTap c = p.columns[j];
      for (int64_t l = 0; l < L; ++l) {
        const int64_t u = c.first * L + l, v = c.second * L + l;
        out[j * L + l] = r.share0 * (c.share0 * a[u] + c.share1 * a[v]) +
                         r.share1 * (c.share0 * b[u] + c.share1 * b[v]);
      }
    }
  }
}

template <int64_t L>
void bilinear_backward(const UpsamplePlane& p, const float* dy, float* dx) {
  const int64_t width = p.w * p.factor;
  for (int64_t e = 0; e < p.h * p.w * L; ++e) dx[e] = 0;
  for (int64_t i = 0; i < p.h * p.factor; ++i) {
    const UpsampleTap r = p.rows[i];
    float* a = dx + r.first * p.w * L;
    float* b = dx + r.second * p.w * L;  // may be a
    const float* g = dy + i * width * L;
    for (int64_t j = 0; j < width; ++j) {
      const UpsampleTap c = p.columns[j];
      for (int64_t l = 0; l < L; ++l) {
        const int64_t u = c.first * L + l, v = c.second * L + l;
        const float at = g[j * L + l];
        a[u] += r.share0 * c.share0 * at;
        a[v] += r.share0 * c.share1 * at;
        b[u] += r.share1 * c.share0 * at;
        b[v] += r.share1 * c.share1 * at;
      }
    }
  }
}

constexpr UpsampleKernels upsample_kernels(const char* name) {
  return {name,
          {nearest_forward<1>, nearest_forward<16>},
          {nearest_backward<1>, nearest_backward<16>},
          {bilinear_forward<1>, bilinear_forward<16>},
          {bilinear_backward<1>, bilinear_backward<16>}};
}

}  // namespace
