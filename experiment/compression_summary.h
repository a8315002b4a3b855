// Compressions with several seeds, together.
#pragma once

#include <vector>

#include "experiment/compression.h"

namespace tessera::experiment {

// All seeds of one method and codebook.
struct SeedGroup {
  Variant variant;
  std::vector<double> before, dc, after, rise;
  std::vector<double> bits, entropy, ratio, seconds;
};

// In the order of the first of each.
std::vector<SeedGroup> by_variant(const std::vector<Compression>& rows);

// {"rows": [...], "summary": [...]}
Json compressions_json(const std::vector<Compression>& rows);

}  // namespace tessera::experiment
