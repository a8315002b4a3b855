// Soft assignment for the lanes of whichever file includes this. A block is one vector per lane;
// the loops run over entries, whose weights stay in the first level cache. Sums over vectors are
// f32 per lane within a run, joined by a fixed tree and added in f64.
#pragma once

#include "ops/codebook/soft_assign_kernels.h"
#include "ops/vector/math-inl.h"

namespace {

using tessera::SoftAssignCotangents;
using tessera::SoftAssignRun;

constexpr int64_t kMaxLength = 16;
// Weights under e^-75 = 3e-33 of the largest one are 0: they and their products would be subnormal
// numbers, which cost processors a hundred times more than others.
constexpr float kNothing = -75.0f;

// Up to kLanes vectors of d floats, turned: x[c] holds element c of all of them.
inline void load_turned(const float* from, int64_t count, int64_t d, F* x) {
  if (d == 1) {
    x[0] = count == kLanes ? load(from) : load_n(from, count);
    return;
  }
  for (int64_t c = 0; c < d; ++c) {
    float lanes[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = l < count ? from[l * d + c] : 0.0f;
    x[c] = load(lanes);
  }
}
inline void store_turned(const F* x, int64_t count, int64_t d, float* to) {
  if (d == 1) {
    if (count == kLanes)
      store(to, x[0]);
    else
      store_n(to, x[0], count);
    return;
  }
  for (int64_t c = 0; c < d; ++c) {
    float lanes[kLanes];
    store(lanes, x[c]);
    for (int64_t l = 0; l < count; ++l) to[l * d + c] = lanes[l];
  }
}

inline void add_to(float* lanes, F v) {
  store(lanes, add(load(lanes), v));
}
inline void clear(float* lanes, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(lanes + i * kLanes, set(0.0f));
}
inline void flush(const float* lanes, int64_t n, double* sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += sum_of(load(lanes + i * kLanes));
}

// e^(z_k - m) of each entry at weights + k * kLanes, z_k = -|x - c_k|^2 / tau, m their maximum.
// Returns the sum. Here and below `length` is d where the vectors fit registers, else 0.
template <int64_t length>
inline F soft_weights(const SoftAssignRun& run, const F* x, float* weights, F* maximum) {
  const int64_t d = length ? length : run.d;
  const F scale = set(-1.0f / run.tau);
  F m = set(-__builtin_inff());
  for (int64_t k = 0; k < run.k; ++k) {
    F distance = set(0.0f);
    for (int64_t c = 0; c < d; ++c) {
      const F away = sub(x[c], set(run.entries[k * d + c]));
      distance = fma(away, away, distance);
    }
    const F z = mul(distance, scale);
    store(weights + k * kLanes, z);
    m = raw_max(z, m);
  }
  F total = set(0.0f);
  for (int64_t k = 0; k < run.k; ++k) {
    const F below = sub(load(weights + k * kLanes), m);
    const F e = select(less(below, set(kNothing)), set(0.0f), exp(raw_max(set(kNothing), below)));
    store(weights + k * kLanes, e);
    total = add(total, e);
  }
  *maximum = m;
  return total;
}

template <int64_t length>
void forward_run(const SoftAssignRun& run, float* mean, double* sums) {
  const int64_t d = length ? length : run.d;
  float* const weights = run.work;
  float* const mass = weights + run.k * kLanes;
  float* const moment = mass + run.k * kLanes;
  clear(mass, run.k * (1 + d));
  F log_sum = set(0.0f);
  F x[kMaxLength], y[kMaxLength];
  for (int64_t i = 0; i < run.n; i += kLanes) {
    const int64_t count = run.n - i < kLanes ? run.n - i : kLanes;
    load_turned(run.w + i * d, count, d, x);
    F m;
    const F total = soft_weights<length>(run, x, weights, &m);
    F log_total = add(m, log(total));
    F inverse = div(set(1.0f), total);
    if (count < kLanes) {  // lanes without a vector weigh nothing
      log_total = keep_n(log_total, count, set(0.0f));
      inverse = keep_n(inverse, count, set(0.0f));
    }
    log_sum = add(log_sum, log_total);
    for (int64_t c = 0; c < d; ++c) y[c] = set(0.0f);
    for (int64_t k = 0; k < run.k; ++k) {
      const F a = mul(load(weights + k * kLanes), inverse);
      add_to(mass + k * kLanes, a);
      for (int64_t c = 0; c < d; ++c) {
        float* const at = moment + (k * d + c) * kLanes;
        store(at, fma(a, x[c], load(at)));
        y[c] = fma(a, set(run.entries[k * d + c]), y[c]);
      }
    }
    store_turned(y, count, d, mean + i * d);
  }
  flush(mass, run.k * (1 + d), sums);
  sums[run.k * (1 + d)] += sum_of(log_sum);
}

template <int64_t length>
void backward_run(const SoftAssignRun& run, const SoftAssignCotangents& given, float* d_w,
                  double* d_entries) {
  const int64_t d = length ? length : run.d;
  float* const weights = run.work;
  float* const gains = weights + run.k * kLanes;
  float* const sums = gains + run.k * kLanes;
  const F slope = set(2.0f / run.tau);
  clear(sums, run.k * d);
  F x[kMaxLength], d_mean[kMaxLength], d_x[kMaxLength];
  for (int64_t c = 0; c < d; ++c) d_mean[c] = set(0.0f);
  for (int64_t i = 0; i < run.n; i += kLanes) {
    const int64_t count = run.n - i < kLanes ? run.n - i : kLanes;
    load_turned(run.w + i * d, count, d, x);
    if (given.mean) load_turned(given.mean + i * d, count, d, d_mean);
    F m;
    F inverse = div(set(1.0f), soft_weights<length>(run, x, weights, &m));
    if (count < kLanes) inverse = keep_n(inverse, count, set(0.0f));
    // What the loss gains with a_k, and its mean under a.
    F average = set(0.0f);
    for (int64_t k = 0; k < run.k; ++k) {
      const F a = mul(load(weights + k * kLanes), inverse);
      F gain = set(given.mass[k]);
      for (int64_t c = 0; c < d; ++c) {
        gain = fma(d_mean[c], set(run.entries[k * d + c]), gain);
        gain = fma(x[c], set(given.moment[k * d + c]), gain);
      }
      store(weights + k * kLanes, a);
      store(gains + k * kLanes, gain);
      average = fma(a, gain, average);
    }
    const F shift = sub(set(given.log_sum), average);
    for (int64_t c = 0; c < d; ++c) d_x[c] = set(0.0f);
    for (int64_t k = 0; k < run.k; ++k) {
      const F a = load(weights + k * kLanes);
      const F pull = mul(slope, mul(a, add(load(gains + k * kLanes), shift)));
      for (int64_t c = 0; c < d; ++c) {
        const F force = mul(pull, sub(x[c], set(run.entries[k * d + c])));
        add_to(sums + (k * d + c) * kLanes, fma(a, d_mean[c], force));
        d_x[c] = sub(fma(a, set(given.moment[k * d + c]), d_x[c]), force);
      }
    }
    store_turned(d_x, count, d, d_w + i * d);
  }
  flush(sums, run.k * d, d_entries);
}

void forward(const SoftAssignRun& run, float* mean, double* sums) {
  const auto fn = run.d == 1   ? forward_run<1>
                  : run.d == 2 ? forward_run<2>
                  : run.d == 4 ? forward_run<4>
                               : forward_run<0>;
  fn(run, mean, sums);
}

void backward(const SoftAssignRun& run, const SoftAssignCotangents& given, float* d_w,
              double* d_entries) {
  const auto fn = run.d == 1   ? backward_run<1>
                  : run.d == 2 ? backward_run<2>
                  : run.d == 4 ? backward_run<4>
                               : backward_run<0>;
  fn(run, given, d_w, d_entries);
}

}  // namespace
