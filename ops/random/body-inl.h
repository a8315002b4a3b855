// Philox4x32-10 (core/rng.cpp) on sixteen counters at a time: the compiler turns the loops over
// counters into vectors. Integer arithmetic, so every instruction set gives the same numbers.
#pragma once

#include "ops/random/kernels.h"

namespace {

constexpr int kCounters = 16;

void uniform(uint64_t key, uint64_t stream, int64_t first, int64_t n, float* out) {
  for (int64_t done = 0; done < n; done += 4 * kCounters) {
    uint32_t c0[kCounters], c1[kCounters], c2[kCounters], c3[kCounters];
    const uint64_t counter = static_cast<uint64_t>(first + done) / 4;
    for (int i = 0; i < kCounters; ++i) {
      c0[i] = static_cast<uint32_t>(counter + static_cast<uint64_t>(i));
      c1[i] = static_cast<uint32_t>((counter + static_cast<uint64_t>(i)) >> 32);
      c2[i] = static_cast<uint32_t>(stream);
      c3[i] = static_cast<uint32_t>(stream >> 32);
    }
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < kCounters; ++i) {
        const uint64_t p0 = uint64_t{0xD2511F53u} * c0[i], p1 = uint64_t{0xCD9E8D57u} * c2[i];
        c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
        c1[i] = static_cast<uint32_t>(p1);
        c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
        c3[i] = static_cast<uint32_t>(p0);
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    float block[4 * kCounters];
    for (int i = 0; i < kCounters; ++i) {
      block[4 * i] = static_cast<float>(static_cast<int32_t>(c0[i] >> 8)) * 0x1p-24f;
      block[4 * i + 1] = static_cast<float>(static_cast<int32_t>(c1[i] >> 8)) * 0x1p-24f;
      block[4 * i + 2] = static_cast<float>(static_cast<int32_t>(c2[i] >> 8)) * 0x1p-24f;
      block[4 * i + 3] = static_cast<float>(static_cast<int32_t>(c3[i] >> 8)) * 0x1p-24f;
    }
    const int64_t count = n - done < 4 * kCounters ? n - done : 4 * kCounters;
    for (int64_t i = 0; i < count; ++i) out[done + i] = block[i];
  }
}

}  // namespace
