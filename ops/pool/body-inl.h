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

// Sixteen channels of a pixel. In memory only: no function takes or returns one, as instruction
// sets differ in how.
using W = float __attribute__((vector_size(64), aligned(4), may_alias));

// The largest of a window of blocks.
inline void window_max(const PoolPlane& p, const Window& v, const float* x, float* best) {
  W out = W{} - __builtin_inff();
  for (int64_t r = v.row0; r < v.row1; ++r) {
    for (int64_t c = v.col0; c < v.col1; ++c) {
      const W at = *reinterpret_cast<const W*>(x + (r * p.w + c) * 16);
      out = at <= out ? out : at;
    }
  }
  *reinterpret_cast<W*>(best) = out;
}

template <int64_t L>
void max_forward(const PoolPlane& p, const float* x, float* y) {
  if (is_halving(p)) {
    for (int64_t i = 0; i < p.oh; ++i) {
      const float* __restrict a = x + 2 * i * p.w * L;
      const float* __restrict b = a + p.w * L;
      float* __restrict out = y + i * p.ow * L;
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
      if constexpr (L == 16) {
        window_max(p, v, x, y + (i * p.ow + j) * L);
        continue;
      }
      float best[L];
      for (int64_t l = 0; l < L; ++l) best[l] = -__builtin_inff();
      for (int64_t r = v.row0; r < v.row1; ++r) {
        for (int64_t c = v.col0; c < v.col1; ++c) {
          const float* __restrict at = x + (r * p.w + c) * L;
          for (int64_t l = 0; l < L; ++l) best[l] = larger(at[l], best[l]);
        }
      }
      for (int64_t l = 0; l < L; ++l) y[(i * p.ow + j) * L + l] = best[l];
    }
  }
}

// Four neighbouring windows of two by two on one channel.
using V = float __attribute__((vector_size(16)));

inline V load(const float* p) {
  V out;
  __builtin_memcpy(&out, p, sizeof(V));
  return out;
}
inline void store_pairs(float* p, V even, V odd) {
  const V low = __builtin_shufflevector(even, odd, 0, 4, 1, 5);
  const V high = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
  __builtin_memcpy(p, &low, sizeof(V));
  __builtin_memcpy(p + 4, &high, sizeof(V));
}
inline V larger(V v, V best) {
  return v <= best ? best : v;
}

inline void halve_backward(const float* a, const float* b, const float* dy, float* da, float* db) {
  const V al = load(a), ah = load(a + 4), bl = load(b), bh = load(b + 4), zero = {};
  const V a0 = __builtin_shufflevector(al, ah, 0, 2, 4, 6);
  const V a1 = __builtin_shufflevector(al, ah, 1, 3, 5, 7);
  const V b0 = __builtin_shufflevector(bl, bh, 0, 2, 4, 6);
  const V b1 = __builtin_shufflevector(bl, bh, 1, 3, 5, 7);
  const V best = larger(larger(b1, b0), larger(a1, a0));
  const V g0 = load(dy), g1 = a0 == best ? zero : g0;
  const V g2 = a1 == best ? zero : g1, g3 = b0 == best ? zero : g2;
  store_pairs(da, a0 == best ? g0 : zero, a1 == best ? g1 : zero);
  store_pairs(db, b0 == best ? g2 : zero, b1 == best ? g3 : zero);
}

// The same on sixteen channels at once.
inline void halve_backward_block(const float* a, const float* b, const float* dy, float* da,
                                 float* db) {
  const W* at = reinterpret_cast<const W*>(a);
  const W* below = reinterpret_cast<const W*>(b);
  const W zero = {}, a0 = at[0], a1 = at[1], b0 = below[0], b1 = below[1];
  const W top = a1 <= a0 ? a0 : a1, bottom = b1 <= b0 ? b0 : b1;
  const W best = bottom <= top ? top : bottom;
  const W g0 = *reinterpret_cast<const W*>(dy), g1 = a0 == best ? zero : g0;
  const W g2 = a1 == best ? zero : g1, g3 = b0 == best ? zero : g2;
  reinterpret_cast<W*>(da)[0] = a0 == best ? g0 : zero;
  reinterpret_cast<W*>(da)[1] = a1 == best ? g1 : zero;
  reinterpret_cast<W*>(db)[0] = b0 == best ? g2 : zero;
  reinterpret_cast<W*>(db)[1] = b1 == best ? g3 : zero;
}

// The first element that equals the maximum takes the gradient; nobody where that is NaN.
template <int64_t L>
void max_backward(const PoolPlane& p, const float* x, const float* dy, float* dx) {
  if (L == 1 && is_halving(p) && p.ow % 4 == 0) {
    for (int64_t i = 0; i < p.oh; ++i) {
      const int64_t top = 2 * i * p.w, below = top + p.w;
      for (int64_t j = 0; j < p.ow; j += 4) {
        halve_backward(x + top + 2 * j, x + below + 2 * j, dy + i * p.ow + j, dx + top + 2 * j,
                       dx + below + 2 * j);
      }
    }
    return;
  }
  if (L == 16 && is_halving(p)) {
    for (int64_t i = 0; i < p.oh; ++i) {
      const int64_t top = 2 * i * p.w * L, below = top + p.w * L;
      for (int64_t j = 0; j < p.ow; ++j) {
        const int64_t at = 2 * j * L;
        halve_backward_block(x + top + at, x + below + at, dy + (i * p.ow + j) * L, dx + top + at,
                             dx + below + at);
      }
    }
    return;
  }
  for (int64_t e = 0; e < p.h * p.w * L; ++e) dx[e] = 0;
  for (int64_t i = 0; i < p.oh; ++i) {
    for (int64_t j = 0; j < p.ow; ++j) {
      const Window v = window_at(p, i, j);
      if constexpr (L == 16) {
        alignas(64) float largest[16];
        window_max(p, v, x, largest);
        const W best = *reinterpret_cast<const W*>(largest), zero = {};
        W left = *reinterpret_cast<const W*>(dy + (i * p.ow + j) * L);
        for (int64_t r = v.row0; r < v.row1; ++r) {
          for (int64_t c = v.col0; c < v.col1; ++c) {
            const auto hit = *reinterpret_cast<const W*>(x + (r * p.w + c) * L) == best;
            *reinterpret_cast<W*>(dx + (r * p.w + c) * L) += hit ? left : zero;
            left = hit ? zero : left;
          }
        }
        continue;
      }
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
          float take[L];
          for (int64_t l = 0; l < L; ++l) take[l] = at[l] == best[l] ? g[l] : 0.0f;
          for (int64_t l = 0; l < L; ++l) g[l] -= take[l];
          for (int64_t l = 0; l < L; ++l) to[l] += take[l];
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
          const float* __restrict at = x + (r * p.w + c) * L;
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
          float* __restrict to = dx + (r * p.w + c) * L;
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
