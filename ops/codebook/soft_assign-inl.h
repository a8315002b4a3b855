// Soft assignment for the lanes of whichever file includes this. A block is one vector per lane;
// the loops run over entries, whose weights stay in the first level cache. Sums over vectors are
// f32 per lane within a run, joined by a fixed tree and added in f64.
#pragma once

#include "ops/codebook/soft_assign_kernels.h"
#include "ops/vector/math-inl.h"

namespace {

using tessera::SoftAssignCotangents;
using tessera::SoftAssignRun;

// Up to kLanes vectors of d floats, turned: element c of all of them at to + c * kLanes.
inline void load_turned(const float* from, int64_t count, int64_t d, float* to) {
  if (d == 1) {
    store(to, count == kLanes ? load(from) : load_n(from, count));
    return;
  }
  for (int64_t c = 0; c < d; ++c) {
    for (int64_t l = 0; l < kLanes; ++l) to[c * kLanes + l] = l < count ? from[l * d + c] : 0.0f;
  }
}
inline void store_turned(const float* from, int64_t count, int64_t d, float* to) {
  if (d == 1) {
    if (count == kLanes)
      store(to, load(from));
    else
      store_n(to, load(from), count);
    return;
  }
  for (int64_t l = 0; l < count; ++l) {
    for (int64_t c = 0; c < d; ++c) to[l * d + c] = from[c * kLanes + l];
  }
}

inline void clear(float* lanes, int64_t n) {
  for (int64_t i = 0; i < n; ++i) store(lanes + i * kLanes, set(0.0f));
}
inline void add_to(float* lanes, F v) {
  store(lanes, add(load(lanes), v));
}
inline void flush(const float* lanes, int64_t n, double* sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += sum_of(load(lanes + i * kLanes));
}

// e^(z_k - m) of each entry at weights + k * kLanes, z_k = -|x - c_k|^2 / tau, m their maximum.
// Returns the sum.
template <bool flat>
inline F soft_weights(const SoftAssignRun& run, const float* x, float* weights, F* maximum) {
  const F scale = set(-1.0f / run.tau);
  F m = set(-__builtin_inff());
  for (int64_t k = 0; k < run.k; ++k) {
    F distance;
    if (flat) {
      const F away = sub(load(x), set(run.entries[k]));
      distance = mul(away, away);
    } else {
      distance = set(0.0f);
      for (int64_t c = 0; c < run.d; ++c) {
        const F away = sub(load(x + c * kLanes), set(run.entries[k * run.d + c]));
        distance = fma(away, away, distance);
      }
    }
    const F z = mul(distance, scale);
    store(weights + k * kLanes, z);
    m = raw_max(z, m);
  }
  F total = set(0.0f);
  for (int64_t k = 0; k < run.k; ++k) {
    const F e = exp(sub(load(weights + k * kLanes), m));
    store(weights + k * kLanes, e);
    total = add(total, e);
  }
  *maximum = m;
  return total;
}

template <bool flat>
void forward_run(const SoftAssignRun& run, float* mean, double* sums) {
  const int64_t d = flat ? 1 : run.d;
  float* const weights = run.work;
  float* const mass = weights + run.k * kLanes;
  float* const moment = mass + run.k * kLanes;
  float* const x = moment + run.k * d * kLanes;
  float* const y = x + d * kLanes;
  clear(mass, run.k * (1 + d));
  F log_sum = set(0.0f);
  for (int64_t i = 0; i < run.n; i += kLanes) {
    const int64_t count = run.n - i < kLanes ? run.n - i : kLanes;
    load_turned(run.w + i * d, count, d, x);
    F m;
    const F total = soft_weights<flat>(run, x, weights, &m);
    F log_total = add(m, log(total));
    F inverse = div(set(1.0f), total);
    if (count < kLanes) {  // lanes without a vector weigh nothing
      log_total = keep_n(log_total, count, set(0.0f));
      inverse = keep_n(inverse, count, set(0.0f));
    }
    log_sum = add(log_sum, log_total);
    clear(y, d);
    for (int64_t k = 0; k < run.k; ++k) {
      const F a = mul(load(weights + k * kLanes), inverse);
      add_to(mass + k * kLanes, a);
      for (int64_t c = 0; c < d; ++c) {
        float* const at = moment + (k * d + c) * kLanes;
        store(at, fma(a, load(x + c * kLanes), load(at)));
        store(y + c * kLanes, fma(a, set(run.entries[k * d + c]), load(y + c * kLanes)));
      }
    }
    store_turned(y, count, d, mean + i * d);
  }
  flush(mass, run.k * (1 + d), sums);
  sums[run.k * (1 + d)] += sum_of(log_sum);
}

template <bool flat>
void backward_run(const SoftAssignRun& run, const SoftAssignCotangents& given, float* d_w,
                  double* d_entries) {
  const int64_t d = flat ? 1 : run.d;
  float* const weights = run.work;
  float* const gains = weights + run.k * kLanes;
  float* const sums = gains + run.k * kLanes;
  float* const x = sums + run.k * d * kLanes;
  float* const d_mean = x + d * kLanes;
  float* const d_x = d_mean + d * kLanes;
  const F slope = set(2.0f / run.tau);
  clear(sums, run.k * d);
  if (!given.mean) clear(d_mean, d);
  for (int64_t i = 0; i < run.n; i += kLanes) {
    const int64_t count = run.n - i < kLanes ? run.n - i : kLanes;
    load_turned(run.w + i * d, count, d, x);
    if (given.mean) load_turned(given.mean + i * d, count, d, d_mean);
    F m;
    F inverse = div(set(1.0f), soft_weights<flat>(run, x, weights, &m));
    if (count < kLanes) inverse = keep_n(inverse, count, set(0.0f));
    // What the loss gains with a_k, and its mean under a.
    F average = set(0.0f);
    for (int64_t k = 0; k < run.k; ++k) {
      const F a = mul(load(weights + k * kLanes), inverse);
      F gain = set(given.mass[k]);
      for (int64_t c = 0; c < d; ++c) {
        gain = fma(load(d_mean + c * kLanes), set(run.entries[k * d + c]), gain);
        gain = fma(load(x + c * kLanes), set(given.moment[k * d + c]), gain);
      }
      store(weights + k * kLanes, a);
      store(gains + k * kLanes, gain);
      average = fma(a, gain, average);
    }
    const F shift = sub(set(given.log_sum), average);
    clear(d_x, d);
    for (int64_t k = 0; k < run.k; ++k) {
      const F a = load(weights + k * kLanes);
      const F pull = mul(slope, mul(a, add(load(gains + k * kLanes), shift)));
      for (int64_t c = 0; c < d; ++c) {
        const F away = sub(load(x + c * kLanes), set(run.entries[k * d + c]));
        const F force = mul(pull, away);
        float* const sum = sums + (k * d + c) * kLanes;
        store(sum, add(load(sum), fma(a, load(d_mean + c * kLanes), force)));
        F at = load(d_x + c * kLanes);
        at = fma(a, set(given.moment[k * d + c]), at);
        store(d_x + c * kLanes, sub(at, force));
      }
    }
    store_turned(d_x, count, d, d_w + i * d);
  }
  flush(sums, run.k * d, d_entries);
}

void forward(const SoftAssignRun& run, float* mean, double* sums) {
  run.d == 1 ? forward_run<true>(run, mean, sums) : forward_run<false>(run, mean, sums);
}

void backward(const SoftAssignRun& run, const SoftAssignCotangents& given, float* d_w,
              double* d_entries) {
  run.d == 1 ? backward_run<true>(run, given, d_w, d_entries)
             : backward_run<false>(run, given, d_w, d_entries);
}

}  // namespace
