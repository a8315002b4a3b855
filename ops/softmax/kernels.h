// Softmax kernels on one contiguous row: plain structs between softmax.cpp, the losses, and the
// files compiled with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

struct SoftmaxKernels {
  const char* name;
  // out[i] = e^(x[i] - m) / sum; out may be x.
  void (*softmax)(const float* x, int64_t n, float* out);
  // out[i] = x[i] - m - log(sum); out may be x.
  void (*log_softmax)(const float* x, int64_t n, float* out);
  // x[i] *= factor
  void (*scale)(float* x, int64_t n, float factor);
  // log(sum of e^x[i]).
  float (*log_sum_exp)(const float* x, int64_t n);
};

extern "C" const SoftmaxKernels tessera_softmax_ref;
#if defined(__x86_64__)
extern "C" const SoftmaxKernels tessera_softmax_avx2;
extern "C" const SoftmaxKernels tessera_softmax_avx512;
#endif

}  // namespace tessera
