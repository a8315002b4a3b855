// Kernels of `soft_assign` and its gradient on one run of vectors: plain structs between
// soft_assign.cpp and the files compiled with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

// n vectors of d floats against k entries of d floats.
struct SoftAssignRun {
  const float* w;
  const float* entries;
  int64_t n, k, d;
  float tau;
  float* work;  // soft_assign_work(k, d) floats
};

struct SoftAssignCotangents {
  const float* mean;    // [n][d], may be null
  const float* mass;    // [k]
  const float* moment;  // [k][d]
  float log_sum;
};

// In lanes of the widest registers: weights, mass or gains, and sums.
constexpr int64_t soft_assign_work(int64_t k, int64_t d) {
  return 16 * (2 * k + k * d);
}

struct SoftAssignKernels {
  const char* name;
  // mean may be run.w. Adds to sums: mass [k], moment [k][d], log_sum [1].
  void (*forward)(const SoftAssignRun& run, float* mean, double* sums);
  // d_w may be run.w or given.mean. Adds to d_entries [k][d].
  void (*backward)(const SoftAssignRun& run, const SoftAssignCotangents& given, float* d_w,
                   double* d_entries);
};

extern "C" const SoftAssignKernels tessera_soft_assign_ref;
#if defined(__x86_64__)
extern "C" const SoftAssignKernels tessera_soft_assign_avx2;
extern "C" const SoftAssignKernels tessera_soft_assign_avx512;
#endif

}  // namespace tessera
