// Time and peak memory of codebook fitting on normal weights.
//   fit_bench [weights] [codebook] [repetitions]     defaults: a table of the usual cases
// Every case runs in its own process, so that its peak memory is its own. "floor" is the share of
// the time that moving the bytes named in quant/fit/fit.h would take at the bandwidth measured
// here.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "quant/fit/fit.h"

namespace {

using tessera::quant::CodebookFit;
using tessera::quant::CodebookSpec;

double seconds() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

double peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto value = [](const timeval& t) { return t.tv_sec + 1e-6 * t.tv_usec; };
  return value(usage.ru_utime) + value(usage.ru_stime);
}

struct Timing {
  double best = 1e300, median = 0, cpu = 0;  // cpu: mean over all threads together
};

template <class F>
Timing time(int repetitions, const F& run) {
  std::vector<double> all;
  const double cpu = cpu_seconds();
  for (int i = 0; i < repetitions; ++i) {
    const double start = seconds();
    run();
    all.push_back(seconds() - start);
  }
  std::sort(all.begin(), all.end());
  return {all.front(), all[all.size() / 2], (cpu_seconds() - cpu) / repetitions};
}

// Bytes per second of a parallel copy of 128 MB: 1 read, 1 written, 1 write-allocate.
double bandwidth() {
  constexpr std::int64_t kBytes = 128 << 20;
  std::vector<char> from(kBytes, 1), to(kBytes, 2);
  const Timing timing = time(5, [&] {
    tessera::parallel_for(kBytes, 1 << 20, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.data() + begin, from.data() + begin, end - begin);
    });
  });
  return 3 * kBytes / timing.best;
}

void run_case(std::size_t n, const CodebookSpec& spec, int repetitions, bool warm,
              double bytes_per_s) {
  std::vector<float> weights(n);
  tessera::parallel_for(
      static_cast<std::int64_t>(n), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const double u = tessera::uniform_at(1, 0, 2 * i),
                       v = tessera::uniform_at(1, 0, 2 * i + 1);
          weights[i] =
              static_cast<float>(0.05 * std::sqrt(-2 * std::log1p(-u)) * std::cos(6.283185307 * v));
        }
      });
  CodebookFit start, result;
  if (warm) {
    // What a C step sees: the entries of nearly the same weights.
    for (float& w : weights) w *= 1.02f;
    start = fit(spec, weights);
    for (float& w : weights) w /= 1.02f;
  }
  const Timing timing = time(repetitions, [&] {
    result = {};
    result = fit(spec, weights, {}, {.warm_start = warm ? &start : nullptr});
  });
  const bool sorts = spec.kind() == CodebookSpec::Kind::kAdaptive ||
                     spec.kind() == CodebookSpec::Kind::kMultibit ||
                     (spec.kind() == CodebookSpec::Kind::kScaled && spec.size() > 2);
  const double floor = static_cast<double>(n) * (sorts ? 37 : 6) / bytes_per_s;
  std::printf("%9zu  %-18s %-5s %9.2f %9.2f %9.2f %8.2f %6.0f%% %8.1f  %.6f\n", n,
              spec.text().c_str(), warm ? "warm" : "", timing.best * 1e3, timing.median * 1e3,
              timing.cpu * 1e3, timing.best * 1e9 / static_cast<double>(n),
              100 * floor / timing.best, peak_megabytes(), quantization_error(weights, result));
  std::fflush(stdout);
}

// In a child, whose memory is its own; no threads exist yet in this process.
template <class F>
void in_child(const F& run) {
  const pid_t child = fork();
  if (child == 0) {
    run();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
}

}  // namespace

int main(int argc, char** argv) try {
  double bytes_per_s = 0;
  int channel[2];
  if (pipe(channel) != 0) return 1;
  in_child([&] {
    const double measured = bandwidth();
    if (write(channel[1], &measured, sizeof measured) != sizeof measured) _exit(1);
  });
  if (read(channel[0], &bytes_per_s, sizeof bytes_per_s) != sizeof bytes_per_s) return 1;
  std::printf("%d threads, copy %.1f GB/s\n", tessera::num_threads(), bytes_per_s / 1e9);
  std::printf(
      "  weights  codebook                  best ms median ms    cpu ms ns/weight floor  peak MB  "
      "||w-D||/||w||\n");
  std::fflush(stdout);
  if (argc > 1) {
    const auto n = static_cast<std::size_t>(std::atof(argv[1]));
    const CodebookSpec spec = CodebookSpec::parse(argc > 2 ? argv[2] : "adaptive:16");
    const int repetitions = argc > 3 ? std::max(1, std::atoi(argv[3])) : 5;
    in_child([&] { run_case(n, spec, repetitions, false, bytes_per_s); });
    return 0;
  }
  for (const std::size_t n : {30000, 235200, 1000000, 10000000}) {
    for (const char* text : {"adaptive:2", "adaptive:16", "adaptive:256", "ternary-scaled",
                             "scaled:-2,-1,0,1", "pow2:3"}) {
      const CodebookSpec spec = CodebookSpec::parse(text);
      in_child([&] { run_case(n, spec, n > 1000000 ? 3 : 7, false, bytes_per_s); });
    }
    in_child([&] { run_case(n, CodebookSpec::adaptive(16), 5, true, bytes_per_s); });
  }
} catch (const tessera::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
