// Random streams of packed indices whose values are not equally likely.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/encoding.h"
#include "core/rng.h"

namespace tessera::testing {

struct IndexStream {
  int bits = 1;
  std::int64_t count = 0;
  std::vector<std::uint8_t> plane;

  // Of an index, by the frequencies of its values.
  double entropy_bits() const {
    std::vector<double> counts(std::size_t{1} << bits);
    for (std::int64_t i = 0; i < count; ++i) ++counts[index_at(plane.data(), bits, i)];
    double out = 0;
    for (const double n : counts) {
      const double share = n / static_cast<double>(count);
      if (n > 0) out -= share * std::log2(share);
    }
    return out;
  }
};

// An index is the lowest value with this probability, and else any value.
inline IndexStream random_stream(int bits, std::int64_t count, double p, Rng& rng) {
  IndexStream out{bits, count, {}};
  out.plane.resize(static_cast<std::size_t>((count * bits + 7) / 8));
  for (std::int64_t i = 0; i < count; ++i) {
    const bool low = rng.uniform(0, 1) < static_cast<float>(p);
    const std::uint64_t index = low ? 0 : rng.below(std::uint64_t{1} << bits);
    for (int b = 0; b < bits; ++b) {
      const std::int64_t bit = i * bits + b;
      out.plane[static_cast<std::size_t>(bit / 8)] |=
          static_cast<std::uint8_t>((index >> b & 1) << (bit % 8));
    }
  }
  return out;
}

}  // namespace tessera::testing
