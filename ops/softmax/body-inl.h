// The row kernels, for the lanes of whichever file includes this. The maximum m is subtracted
// first, so no exponential overflows; sums are f32 per lane, joined by a fixed tree.
#pragma once

#include "ops/softmax/kernels.h"
#include "ops/vector/math-inl.h"

namespace {

// NaN wins, so that a NaN anywhere makes the whole row NaN.
inline F join_max(F a, F b) {
  return select(is_nan(a), a, raw_max(a, b));
}

inline float row_max(const float* x, int64_t n) {
  const F lowest = set(-__builtin_inff());
  F best = lowest;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) best = join_max(best, load(x + i));
  if (const int64_t rest = n - i; rest > 0) {
    best = join_max(best, keep_n(load_n(x + i, rest), rest, lowest));
  }
  float lanes[kLanes];
  store(lanes, best);
  // Pairs of lanes: a chain of kLanes comparisons would cost more than a short row's exponentials.
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) {
      const float other = lanes[l + half];
      lanes[l] = other > lanes[l] || other != other ? other : lanes[l];
    }
  }
  return lanes[0];
}

// Sum of e^(x - m); the exponentials go to `out` unless it is null.
inline float row_exp(const float* x, int64_t n, float m, float* out) {
  const F shift = set(m);
  F total = set(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F e = exp(sub(load(x + i), shift));
    if (out) store(out + i, e);
    total = add(total, e);
  }
  if (const int64_t rest = n - i; rest > 0) {
    const F e = exp(sub(load_n(x + i, rest), shift));
    if (out) store_n(out + i, e, rest);
    total = add(total, keep_n(e, rest, set(0.0f)));
  }
  return sum_of(total);
}

template <class Fn>
inline void each(const float* x, int64_t n, float* out, Fn fn) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, fn(load(x + i)));
  if (const int64_t rest = n - i; rest > 0) store_n(out + i, fn(load_n(x + i, rest)), rest);
}

inline float log_of(float x) {
  float lanes[kLanes];
  store(lanes, log(set(x)));
  return lanes[0];
}

void softmax(const float* x, int64_t n, float* out) {
  const F scale = set(1.0f / row_exp(x, n, row_max(x, n), out));
  each(out, n, out, [=](F v) { return mul(v, scale); });
}

void scale(float* x, int64_t n, float factor) {
  const F by = set(factor);
  each(x, n, x, [=](F v) { return mul(v, by); });
}

void log_softmax(const float* x, int64_t n, float* out) {
  const float m = row_max(x, n);
  const F shift = set(m), rest = set(log_of(row_exp(x, n, m, nullptr)));
  each(x, n, out, [=](F v) { return sub(sub(v, shift), rest); });
}

float log_sum_exp(const float* x, int64_t n) {
  const float m = row_max(x, n);
  return m + log_of(row_exp(x, n, m, nullptr));
}

}  // namespace
