#include "timing/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "core/cpu.h"
#include "core/error.h"
#include "core/parallel.h"
#include "timing/peak_kernels.h"

namespace tessera::experiment {

namespace {

constexpr int kTries = 5;
constexpr std::int64_t kLeastRead = 1 << 12;
constexpr int kReadTries = 24;                            // short ones: some are not disturbed
constexpr std::size_t kReadBytes = std::size_t{1} << 24;  // of a try, or all once

double scalar_loop(float* sink) {
  float sums[kPeakChains] = {};
  const float a = *sink + 0.5f, b = *sink + 0.25f;
  for (std::int64_t r = 0; r < kPeakRounds; ++r) {
    for (float& s : sums) s = s * a + b;
  }
  for (const float s : sums) *sink += s * 1e-30f;
  return 2.0 * kPeakRounds * kPeakChains;
}

PeakLoop widest_loop() {
#if defined(__x86_64__)
  const CpuFeatures features = active_features();
  if (features.includes(kAvx512)) return kPeakAvx512;
  if (features.includes(kAvx2)) return kPeakAvx2;
#endif
  return scalar_loop;
}

PeakLoop widest_bytes_loop() {
#if defined(__x86_64__)
  const CpuFeatures features = active_features();
  if (features.includes(kAvx512 | kVnni)) return kPeakAvx512Vnni;
  if (features.includes(kAvxVnni)) return kPeakAvxVnni;
  if (features.includes(kAvx2)) return kPeakBytesAvx2;
#endif
  return scalar_loop;
}

// 10^9 operations a second, of all threads together.
double measure(PeakLoop loop) {
  const int threads = num_threads();
  constexpr std::size_t kStride = 32;  // a cache line and more between the threads' results
  std::vector<float> sinks(static_cast<std::size_t>(threads) * kStride);
  std::vector<double> operations(static_cast<std::size_t>(threads));
  double best = 0;
  for (int t = 0; t < kTries; ++t) {
    const auto start = std::chrono::steady_clock::now();
    parallel_parts(threads, [&](std::int64_t part) {
      const auto i = static_cast<std::size_t>(part);
      operations[i] = loop(&sinks[i * kStride]);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    double total = 0;
    for (const double o : operations) total += o;
    best = std::max(best, total / seconds.count() / 1e9);
  }
  return best;
}

}  // namespace

double measure_peak_gflops() {
  return measure(widest_loop());
}

double measure_peak_byte_gops() {
  return measure(widest_bytes_loop());
}

double measure_read_gbps(std::int64_t bytes) {
  const int threads = num_threads();
  const auto size = static_cast<std::size_t>(std::max<std::int64_t>(bytes, kLeastRead));
  const std::vector<char> memory(size);
  const std::size_t rounds = 1 + kReadBytes / size;
  double best = 0;
  for (int t = 0; t < kReadTries; ++t) {
    std::atomic<bool> found = false;  // never: but then all must be read
    const auto start = std::chrono::steady_clock::now();
    parallel_parts(threads, [&](std::int64_t part) {
      const std::size_t begin = size * static_cast<std::size_t>(part) / threads,
                        end = size * static_cast<std::size_t>(part + 1) / threads;
      for (std::size_t r = 0; r < rounds; ++r)
        if (std::memchr(memory.data() + begin, 1 + static_cast<int>(r % 100), end - begin))
          found = true;
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    check(!found, "read what was never written");
    best = std::max(best, static_cast<double>(rounds * size) / seconds.count() / 1e9);
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

}  // namespace tessera::experiment
