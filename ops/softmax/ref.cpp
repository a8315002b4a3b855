// Softmax row kernels, plain C on any processor.
#include <math.h>

#include "ops/softmax/kernels.h"

namespace tessera {
namespace {

float row_max(const float* x, int64_t n) {
  float best = -INFINITY;
  for (int64_t i = 0; i < n; ++i) best = x[i] > best || x[i] != x[i] ? x[i] : best;
  return best;
}

float exp_sum(const float* x, int64_t n, float m) {
  float total = 0;
  for (int64_t i = 0; i < n; ++i) total += expf(x[i] - m);
  return total;
}

void softmax(const float* x, int64_t n, float* out) {
  const float m = row_max(x, n), scale = 1 / exp_sum(x, n, m);
  for (int64_t i = 0; i < n; ++i) out[i] = expf(x[i] - m) * scale;
}

void log_softmax(const float* x, int64_t n, float* out) {
  const float m = row_max(x, n), rest = logf(exp_sum(x, n, m));
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] - m - rest;
}

void scale(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

float log_sum_exp(const float* x, int64_t n) {
  const float m = row_max(x, n);
  return m + logf(exp_sum(x, n, m));
}

}  // namespace

extern "C" const SoftmaxKernels tessera_softmax_ref = {"ref", softmax, log_softmax, scale,
                                                       log_sum_exp};

}  // namespace tessera
