// Entropy coding of packed indices: bytes of the packed plane and indices per second, one thread.
// The indices are those of normal weights in equal steps, so that they are worth coding.
#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "core/encoding.h"
#include "core/error.h"
#include "core/files/rans.h"
#include "core/rng.h"

namespace {

using namespace tessera;

constexpr std::int64_t kCount = std::int64_t{1} << 24;

// Entries at even distances over +-3 standard deviations; two are not even: 0.4 and 0.6.
std::vector<std::uint8_t> plane_of(int bits) {
  std::vector<std::uint8_t> plane(static_cast<std::size_t>(kCount * bits / 8));
  const int k = 1 << bits;
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double u = uniform_at(1, 0, 2 * i), v = uniform_at(1, 0, 2 * i + 1);
    const double z = std::sqrt(-2 * std::log1p(-u)) * std::cos(6.283185307 * v);
    const int index = bits == 1 ? u < 0.4 : static_cast<int>(std::floor((z + 3) / 6 * k));
    const auto clipped = static_cast<std::uint32_t>(index < 0 ? 0 : index >= k ? k - 1 : index);
    for (int b = 0; b < bits; ++b) {
      const std::int64_t bit = i * bits + b;
      plane[static_cast<std::size_t>(bit / 8)] |=
          static_cast<std::uint8_t>((clipped >> b & 1) << (bit % 8));
    }
  }
  return plane;
}

void report(benchmark::State& state, const std::vector<std::uint8_t>& plane, std::size_t coded) {
  state.SetBytesProcessed(state.iterations() * std::ssize(plane));
  state.SetItemsProcessed(state.iterations() * kCount);
  state.counters["bits"] = 8.0 * static_cast<double>(coded) / static_cast<double>(kCount);
}

void decode(benchmark::State& state) {
  const auto bits = static_cast<int>(state.range(0));
  const auto plane = plane_of(bits);
  const auto coded = rans_encode(plane, bits, kCount).value();
  std::vector<std::uint8_t> out(plane.size());
  for (auto _ : state) {
    rans_decode(coded, bits, kCount, out, "bench: ");
    benchmark::DoNotOptimize(out.data());
  }
  check(out == plane, "the plane differs");
  report(state, plane, coded.size());
}

void encode(benchmark::State& state) {
  const auto bits = static_cast<int>(state.range(0));
  const auto plane = plane_of(bits);
  std::size_t size = 0;
  for (auto _ : state) size = rans_encode(plane, bits, kCount).value().size();
  report(state, plane, size);
}

BENCHMARK(decode)->DenseRange(1, 8)->Unit(benchmark::kMillisecond);
BENCHMARK(encode)->DenseRange(1, 8)->Unit(benchmark::kMillisecond);

}  // namespace
