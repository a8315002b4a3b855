// Kernels of `nearest` on one run of weights that share a group: plain structs between nearest.cpp
// and the files compiled with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

inline constexpr int64_t kMaxNearestEntries = 256;

// A group's entries, ready to search: 2^levels >= k slots. The index of a weight is the number of
// limits below it; limits from k - 1 on are infinite. Every array can be read for at least 32.
struct NearestTable {
  alignas(64) float limits[kMaxNearestEntries];
  alignas(64) float entries[kMaxNearestEntries];
  // The neighbour below (2 i) and above (2 i + 1) of entry i, and each alone.
  alignas(64) float sides[2 * kMaxNearestEntries];
  alignas(64) float below[kMaxNearestEntries];
  alignas(64) float above[kMaxNearestEntries];
  int levels;
};

// Any output may be null, and entry or neighbour may be w.
struct NearestOut {
  float *entry, *neighbour;
  uint8_t* index;
};

struct NearestKernels {
  const char* name;
  void (*run)(const NearestTable& table, const float* w, int64_t n, NearestOut out);
};

extern "C" const NearestKernels tessera_nearest_ref;
#if defined(__x86_64__)
extern "C" const NearestKernels tessera_nearest_avx2;
extern "C" const NearestKernels tessera_nearest_avx512;
#endif

}  // namespace tessera
