#include "apps/common/peak.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tessera::apps {

namespace {

// Two FMA units with a latency of four or five cycles need ten chains; twelve leave room.
constexpr int kChains = 12;
constexpr std::int64_t kRounds = 200'000;
constexpr int kTries = 5;

// Each returns the number of floating-point operations it did.
using Loop = double (*)(float* sink);

double scalar_loop(float* sink) {
  float sums[kChains] = {};
  const float a = *sink + 0.5f, b = *sink + 0.25f;
  for (std::int64_t r = 0; r < kRounds; ++r) {
    for (float& s : sums) s = s * a + b;
  }
  for (const float s : sums) *sink += s * 1e-30f;
  return 2.0 * kRounds * kChains;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double avx2_loop(float* sink) {
  __m256 sums[kChains];
  for (auto& s : sums) s = _mm256_setzero_ps();
  const __m256 a = _mm256_set1_ps(*sink + 0.5f), b = _mm256_set1_ps(*sink + 0.25f);
  for (std::int64_t r = 0; r < kRounds; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = _mm256_fmadd_ps(sums[c], a, b);
  }
  float lanes[8];
  for (int c = 1; c < kChains; ++c) sums[0] = _mm256_add_ps(sums[0], sums[c]);
  _mm256_storeu_ps(lanes, sums[0]);
  *sink += lanes[0] * 1e-30f;
  return 2.0 * 8 * kRounds * kChains;
}

__attribute__((target("avx512f"))) double avx512_loop(float* sink) {
  __m512 sums[kChains];
  for (auto& s : sums) s = _mm512_setzero_ps();
  const __m512 a = _mm512_set1_ps(*sink + 0.5f), b = _mm512_set1_ps(*sink + 0.25f);
  for (std::int64_t r = 0; r < kRounds; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_fmadd_ps(sums[c], a, b);
  }
  float lanes[16];
  for (int c = 1; c < kChains; ++c) sums[0] = _mm512_add_ps(sums[0], sums[c]);
  _mm512_storeu_ps(lanes, sums[0]);
  *sink += lanes[0] * 1e-30f;
  return 2.0 * 16 * kRounds * kChains;
}
#endif

Loop widest_loop() {
#if defined(__x86_64__)
  const CpuFeatures features = active_features();
  if (features.includes(kAvx512)) return avx512_loop;
  if (features.includes(kAvx2)) return avx2_loop;
#endif
  return scalar_loop;
}

}  // namespace

double measure_peak_gflops() {
  const Loop loop = widest_loop();
  const int threads = num_threads();
  constexpr std::size_t kStride = 32;  // a cache line and more between the threads' results
  std::vector<float> sinks(static_cast<std::size_t>(threads) * kStride);
  std::vector<double> flops(static_cast<std::size_t>(threads));
  double best = 0;
  for (int t = 0; t < kTries; ++t) {
    const auto start = std::chrono::steady_clock::now();
    parallel_parts(threads, [&](std::int64_t part) {
      const auto i = static_cast<std::size_t>(part);
      flops[i] = loop(&sinks[i * kStride]);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    double total = 0;
    for (const double f : flops) total += f;
    best = std::max(best, total / seconds.count() / 1e9);
  }
  return best;
}

std::int64_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  fail("--peak-memory: /proc/self/status names no VmHWM on this system");
}

}  // namespace tessera::apps
