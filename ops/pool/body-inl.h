// The pooling loops, compiled once for each instruction set; the compiler turns the fixed-length
// inner loops over lanes into vectors.
#pragma once

#include "ops/pool/kernels.h"

namespace {

using tessera::PoolKernels;
using tessera::PoolPlane;

struct Window {
  int64_t row0, row1, col0, col1;  // inside the image
};

inline Window window_at(const PoolPlane& p, int64_t i, int64_t j) {
  const int64_t top = i * p.sh - p.top, left = j * p.sw - p.left;
  Window v{top, top + p.kh, left, left + p.kw};
  if (v.row0 < 0) v.row0 = 0;
  if (v.col0 < 0) v.col0 = 0;
  if (v.row1 > p.h) v.row1 = p.h;
  if (v.col1 > p.w) v.col1 = p.w;
  return v;
}

// What an average divides by: the whole window, or its part in the image.
inline float window_share(const PoolPlane& p, const Window& v) {
  const int64_t n = p.count_pad ? p.kh * p.kw : (v.row1 - v.row0) * (v.col1 - v.col0);
  return 1.0f / static_cast<float>(n > 0 ? n : 1);
}

// NaN wins.
inline float larger(float v, float best) {
  return v <= best ? best : v;
}

inline bool is_halving(const PoolPlane& p) {
  return p.kh == 2 && p.kw == 2 && p.sh == 2 && p.sw == 2 && p.top == 0 && p.left == 0 &&
         p.h == 2 * p.oh && p.w == 2 * p.ow;
}

template <int64_t L>
void max_forward(const PoolPlane& p, const float* x, float* y) {
  if (is_halving(p)) {
    for (int64_t i = 0; i < p.oh; ++i) {
      const float* a = x + 2 * i * p.w * L;
      const float* b = a + p.w * L;
      float* out = y + i * p.ow * L;
      for (int64_t j = 0; j < p.ow; ++j) {
        for (int64_t l = 0; l < L; ++l) {
          const int64_t at = 2 * j * L + l;
          out[j * L + l] = larger(larger(b[at + L], b[at]), larger(a[at + L], a[at]));
        }
      }
    }
    return;
  }
  for (int64_t i = 0; i < p.oh; ++i) {
    for (int64_t j = 0; j < p.ow; ++j) {
      const Window v = window_at(p, i, j);
      float best[L];
      for (int64_t l = 0; l < L; ++l) best[l] = -__builtin_inff();
      for (int64_t r = v.row0; r < v.row1; ++r) {
        for (int64_t c = v.col0; c < v.col1; ++c) {
          const float* at = x + (r * p.w + c) * L;
          for (int64_t l = 0; l < L; ++l) best[l] = larger(at[l], best[l]);
        }
      }
      for (int64_t l = 0; l < L; ++l) y[(i * p.ow + j) * L + l] = best[l];
    }
  }
}

// The first element that equals the maximum takes the gradient; nobody where that is NaN.
template <int64_t L>
void max_backward(const PoolPlane& p, const float* x, const float* dy, float* dx) {
  if (is_halving(p)) {
    for (int64_t i = 0; i < p.oh; ++i) {
      const float* a = x + 2 * i * p.w * L;
      const float* b = a + p.w * L;
      float* da = dx + 2 * i * p.w * L;
      float* db = da + p.w * L;
      const float* in = dy + i * p.ow * L;
      for (int64_t j = 0; j < p.ow; ++j) {
        for (int64_t l = 0; l < L; ++l) {
          const int64_t at = 2 * j * L + l;
          const float a0 = a[at], a1 = a[at + L], b0 = b[at], b1 = b[at + L];
          const float best = larger(larger(b1, b0), larger(a1, a0));
          const float g0 = in[j * L + l], g1 = a0 == best ? 0.0f : g0;
          const float g2 = a1 == best ? 0.0f : g1, g3 = b0 == best ? 0.0f : g2;
          da[at] = a0 == best ? g0 : 0.0f;
          da[at + L] = a1 == best ? g1 : 0.0f;
          db[at] = b0 == best ? g2 : 0.0f;
          db[at + L] = b1 == best ? g3 : 0.0f;
        }
      }
    }
    return;
  }
  for (int64_t e = 0; e < p.h * p.w * L; ++e) dx[e] = 0;
  for (int64_t i = 0; i < p.oh; ++i) {
    for (int64_t j = 0; j < p.ow; ++j) {
      const Window v = window_at(p, i, j);
      float best[L], g[L];
      for (int64_t l = 0; l < L; ++l) {
        best[l] = -__builtin_inff();
        g[l] = dy[(i * p.ow + j) * L + l];
      }
      for (int64_t r = v.row0; r < v.row1; ++r) {
        for (int64_t c = v.col0; c < v.col1; ++c) {
          const float* at = x + (r * p.w + c) * L;
          for (int64_t l = 0; l < L; ++l) best[l] = larger(at[l], best[l]);
        }
      }
      for (int64_t r = v.row0; r < v.row1; ++r) {
        for (int64_t c = v.col0; c < v.col1; ++c) {
          const float* at = x + (r * p.w + c) * L;
          float* to = dx + (r * p.w + c) * L;
          for (int64_t l = 0; l < L; ++l) {
            to[l] += at[l] == best[l] ? g[l] : 0.0f;
            g[l] = at[l] == best[l] ? 0.0f : g[l];
          }
        }
      }
    }
  }
}

template <int64_t L>
void average_forward(const PoolPlane& p, const float* x, float* y) {
  for (int64_t i = 0; i < p.oh; ++i) {
    for (int64_t j = 0; j < p.ow; ++j) {
      const Window v = window_at(p, i, j);
      float sum[L];
      for (int64_t l = 0; l < L; ++l) sum[l] = 0;
      for (int64_t r = v.row0; r < v.row1; ++r) {
        for (int64_t c = v.col0; c < v.col1; ++c) {
          const float* at = x + (r * p.w + c) * L;
          for (int64_t l = 0; l < L; ++l) sum[l] += at[l];
        }
      }
      const float share = window_share(p, v);
      for (int64_t l = 0; l < L; ++l) y[(i * p.ow + j) * L + l] = sum[l] * share;
    }
  }
}

template <int64_t L>
void average_backward(const PoolPlane& p, const float* dy, float* dx) {
  for (int64_t e = 0; e < p.h * p.w * L; ++e) dx[e] = 0;
  for (int64_t i = 0; i < p.oh; ++i) {
    for (int64_t j = 0; j < p.ow; ++j) {
      const Window v = window_at(p, i, j);
      const float share = window_share(p, v);
      const float* g = dy + (i * p.ow + j) * L;
      for (int64_t r = v.row0; r < v.row1; ++r) {
        for (int64_t c = v.col0; c < v.col1; ++c) {
          float* to = dx + (r * p.w + c) * L;
          for (int64_t l = 0; l < L; ++l) to[l] += g[l] * share;
        }
      }
    }
  }
}

constexpr PoolKernels pool_kernels(const char* name) {
  return {name,
          {max_forward<1>, max_forward<16>},
          {max_backward<1>, max_backward<16>},
          {average_forward<1>, average_forward<16>},
          {average_backward<1>, average_backward<16>}};
}

}  // namespace
