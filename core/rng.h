// Counter-based randomness: a value is a pure function of (key, stream, counter), so results do not
// depend on threads, on the order of passes, or on what ran before.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tessera {

// Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words from a 128-bit counter and 64-bit key.
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_hi,
                                    std::uint64_t counter_lo);

// FNV-1a: turns the name path of a node or parameter into a stable stream id.
std::uint64_t stable_id(std::string_view name);

// Uniform in [0, 1) with 24 random bits: element i of a stream.
float uniform_at(std::uint64_t key, std::uint64_t stream, std::uint64_t i);

// A sequential view of one stream, for code that wants "the next number".
class Rng {
 public:
  Rng(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  std::uint32_t next_u32();
  std::uint64_t below(std::uint64_t n);  // uniform in [0, n), n > 0
  float uniform();                       // [0, 1)
  float uniform(float low, float high) { return low + (high - low) * uniform(); }
  float normal();  // mean 0, variance 1 (Box-Muller)

 private:
  std::uint64_t seed_, stream_, counter_ = 0;
  std::array<std::uint32_t, 4> block_{};
  int left_ = 0;
};

}  // namespace tessera
