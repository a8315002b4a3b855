#include "core/rng.h"

#include <cmath>
#include <numbers>

namespace tessera {

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_hi,
                                    std::uint64_t counter_lo) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  std::array<std::uint32_t, 4> c = {
      static_cast<std::uint32_t>(counter_lo), static_cast<std::uint32_t>(counter_lo >> 32),
      static_cast<std::uint32_t>(counter_hi), static_cast<std::uint32_t>(counter_hi >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

std::uint64_t stable_id(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

float uniform_at(std::uint64_t key, std::uint64_t stream, std::uint64_t i) {
  return static_cast<float>(philox(key, stream, i >> 2)[i & 3] >> 8) * 0x1p-24f;
}

std::uint32_t Rng::next_u32() {
  if (left_ == 0) {
    block_ = philox(seed_, stream_, counter_++);
    left_ = 4;
  }
  return block_[static_cast<std::size_t>(4 - left_--)];
}

std::uint64_t Rng::below(std::uint64_t n) {
  // Lemire's multiply-shift with rejection: unbiased.
  auto draw = [&] { return (std::uint64_t{next_u32()} << 32) | next_u32(); };
  __extension__ using Wide = unsigned __int128;
  Wide m = Wide{draw()} * n;
  if (static_cast<std::uint64_t>(m) < n) {
    const std::uint64_t threshold = (0 - n) % n;
    while (static_cast<std::uint64_t>(m) < threshold) m = Wide{draw()} * n;
  }
  return static_cast<std::uint64_t>(m >> 64);
}

float Rng::uniform() {
  return static_cast<float>(next_u32() >> 8) * 0x1p-24f;
}

float Rng::normal() {
  const float u = 1.0f - uniform(), v = uniform();
  return std::sqrt(-2.0f * std::log(u)) * std::cos(2.0f * std::numbers::pi_v<float> * v);
}

}  // namespace tessera
