// Random kernels, portable: core/rng.h four numbers at a time.
#include "core/rng.h"

#include "ops/random/kernels.h"

namespace tessera {
namespace {

void uniform(uint64_t key, uint64_t stream, int64_t first, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += 4) {
    const auto words = philox(key, stream, static_cast<uint64_t>(first + i) / 4);
    for (int64_t j = 0; j < 4 && i + j < n; ++j) {
      out[i + j] = static_cast<float>(words[static_cast<size_t>(j)] >> 8) * 0x1p-24f;
    }
  }
}

}  // namespace

extern "C" const RandomKernels tessera_random_ref = {"ref", uniform};

}  // namespace tessera
