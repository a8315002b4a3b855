// Philox4x32-10 (core/rng.cpp) with one counter in each lane, for the lanes of whichever file
// includes this. Integer arithmetic, so every instruction set gives the same numbers.
#pragma once

#include "ops/random/kernels.h"

namespace {

// 24 bits as a float in [0, 1).
inline F unit(I word) {
  const I bits24 = and_bits(shift_right<8>(word), set_bits(0xffffff));
  return mul(to_float(bits24), set(0x1p-24f));
}

// The four words of counters [counter, counter + kLanes), in order.
inline void uniform_block(uint64_t key, uint64_t stream, uint64_t counter, float* out) {
  uint32_t low[kLanes], high[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) {
    const uint64_t mine = counter + static_cast<uint64_t>(order(l));
    low[l] = static_cast<uint32_t>(mine);
    high[l] = static_cast<uint32_t>(mine >> 32);
  }
  I c0 = load_bits(low), c1 = load_bits(high);
  I c2 = set_bits(static_cast<int32_t>(stream)), c3 = set_bits(static_cast<int32_t>(stream >> 32));
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const Wide p0 = multiply_wide(c0, 0xD2511F53u), p1 = multiply_wide(c2, 0xCD9E8D57u);
    c0 = xor_bits(xor_bits(p1.high, c1), set_bits(static_cast<int32_t>(k0)));
    c2 = xor_bits(xor_bits(p0.high, c3), set_bits(static_cast<int32_t>(k1)));
    c1 = p1.low;
    c3 = p0.low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  store_by_four(out, unit(c0), unit(c1), unit(c2), unit(c3));
}

void uniform(uint64_t key, uint64_t stream, int64_t first, int64_t n, float* out) {
  constexpr int64_t kBlock = 4 * kLanes;
  const uint64_t counter = static_cast<uint64_t>(first) / 4;
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    uniform_block(key, stream, counter + static_cast<uint64_t>(i) / 4, out + i);
  }
  if (i < n) {
    float last[kBlock];
    uniform_block(key, stream, counter + static_cast<uint64_t>(i) / 4, last);
    for (int64_t j = 0; i + j < n; ++j) out[i + j] = last[j];
  }
}

}  // namespace
