#include "quant/fit/assign.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/codebook/nearest.h"

namespace tessera::quant {
namespace {

constexpr std::size_t kChunk = 1 << 15;
constexpr std::size_t kTile = 512;
constexpr int kLanes = 16;

// Compiler vectors of 16 bytes, which every target has.
using Floats = float __attribute__((vector_size(16)));
using Ints = std::int32_t __attribute__((vector_size(16)));
using Shorts = std::int16_t __attribute__((vector_size(16)));
using Bytes = std::uint8_t __attribute__((vector_size(16)));

// Little-endian: the even halves are the low ones, which hold these small numbers whole.
static_assert(std::endian::native == std::endian::little);
Shorts even_shorts(const Ints& a, const Ints& b) {
  return __builtin_shufflevector(std::bit_cast<Shorts>(a), std::bit_cast<Shorts>(b), 0, 2, 4, 6, 8,
                                 10, 12, 14);
}
Bytes even_bytes(const Shorts& a, const Shorts& b) {
  return __builtin_shufflevector(std::bit_cast<Bytes>(a), std::bit_cast<Bytes>(b), 0, 2, 4, 6, 8,
                                 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}

// The index is the number of limits below the weight; a comparison gives -1 for each of them. No
// search: comparing with all 255 limits of 8 bits costs what a binary search does, fewer cost less.
void count_limits_below(std::span<const float> limits, const float* weights, std::size_t n,
                        std::uint8_t* indices) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    std::array<Floats, 4> w;
    std::memcpy(&w, weights + i, sizeof w);
    Ints a{}, b{}, c{}, d{};
    for (const float limit : limits) {
      const Floats all = {limit, limit, limit, limit};
      a += w[0] > all;
      b += w[1] > all;
      c += w[2] > all;
      d += w[3] > all;
    }
    const Bytes sum = Bytes{} - even_bytes(even_shorts(a, b), even_shorts(c, d));
    std::memcpy(indices + i, &sum, sizeof sum);
  }
  for (; i < n; ++i) {
    int below = 0;
    for (const float limit : limits) below += weights[i] > limit;
    indices[i] = static_cast<std::uint8_t>(below);
  }
}

std::int64_t count_differing(const std::uint8_t* a, const std::uint8_t* b, std::size_t n) {
  std::int64_t differing = 0;
  std::size_t i = 0;
  while (i + sizeof(Bytes) <= n) {
    Bytes lanes{};  // up to 255 counts each
    for (int step = 0; step < 255 && i + sizeof(Bytes) <= n; ++step, i += sizeof(Bytes)) {
      Bytes x, y;
      std::memcpy(&x, a + i, sizeof x);
      std::memcpy(&y, b + i, sizeof y);
      lanes -= std::bit_cast<Bytes>(x != y);
    }
    for (std::size_t lane = 0; lane < sizeof(Bytes); ++lane) differing += lanes[lane];
  }
  for (; i < n; ++i) differing += a[i] != b[i];
  return differing;
}

}  // namespace

std::vector<float> cell_limits(std::span<const float> entries) {
  std::vector<float> limits(entries.empty() ? 0 : entries.size() - 1);
  tessera::cell_limits(entries.data(), std::ssize(entries), limits.data());
  return limits;
}

AssignResult assign_nearest(std::span<const float> entries, std::span<const float> weights,
                            std::span<const float> importance,
                            std::span<const std::uint8_t> previous,
                            std::span<std::uint8_t> indices) {
  const std::size_t n = weights.size();
  TESSERA_ASSERT(!entries.empty() && entries.size() <= 256 && indices.size() == n);
  TESSERA_ASSERT(importance.empty() || importance.size() == n);
  TESSERA_ASSERT(previous.empty() || previous.size() == n);
  const std::vector<float> limits = cell_limits(entries);
  std::array<double, 256> table{};
  std::copy(entries.begin(), entries.end(), table.begin());

  const auto assign_chunk = [&](std::size_t begin, std::size_t end) {
    std::array<std::uint8_t, kTile> found;
    double error[4] = {};
    std::int64_t changed = 0;
    for (std::size_t tile = begin; tile < end; tile += kTile) {
      const std::size_t count = std::min(kTile, end - tile);
      const float* w = weights.data() + tile;
      count_limits_below(limits, w, count, found.data());
      const auto add = [&](std::size_t i, double h) {
        const double miss = w[i] - table[found[i]];
        error[i % 4] += h * miss * miss;
      };
      if (importance.empty()) {
        for (std::size_t i = 0; i < count; ++i) add(i, 1);
      } else {
        for (std::size_t i = 0; i < count; ++i) add(i, importance[tile + i]);
      }
      if (!previous.empty())
        changed += count_differing(found.data(), previous.data() + tile, count);
      std::memcpy(indices.data() + tile, found.data(), count);
    }
    return AssignResult{(error[0] + error[1]) + (error[2] + error[3]), changed};
  };

  std::vector<AssignResult> partial((n + kChunk - 1) / kChunk);
  parallel_for(
      static_cast<std::int64_t>(partial.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t c = begin; c < end; ++c)
          partial[c] = assign_chunk(c * kChunk, std::min<std::size_t>(n, (c + 1) * kChunk));
      });
  AssignResult result;
  for (const AssignResult& part : partial)
    result.error += part.error, result.changed += part.changed;
  return result;
}

}  // namespace tessera::quant
