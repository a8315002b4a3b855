// Nearest entries, plain C on any processor.
#include "ops/codebook/nearest_kernels.h"

namespace tessera {
namespace {

void run(const NearestTable& table, const float* w, int64_t n, NearestOut out) {
  for (int64_t i = 0; i < n; ++i) {
    const float x = w[i];
    int index = 0;
    for (int step = 1 << table.levels >> 1; step > 0; step >>= 1)
      if (x > table.limits[index + step - 1]) index += step;
    const float entry = table.entries[index];
    if (out.entry) out.entry[i] = entry;
    if (out.neighbour) out.neighbour[i] = table.sides[2 * index + (x >= entry ? 1 : 0)];
    if (out.index) out.index[i] = static_cast<uint8_t>(index);
  }
}

}  // namespace

extern "C" const NearestKernels tessera_nearest_ref = {"ref", run};

}  // namespace tessera
