// Codebooks of vectors: nearest entries, and k-means in d dimensions.
#pragma once

#include <cstdint>
#include <span>

namespace tessera::quant {

// Entries [k][d] and vectors of d consecutive weights.
struct VectorAssign {
  double error = 0;          // sum h (w - entry)^2 over the weights, f64
  std::int64_t changed = 0;  // indices that differ from `previous`; 0 when that is empty
};

// indices[i] = the entry nearest to vector i (h-weighted distance in f32; of equal ones the
// first). k 1..256, d 1..16; importance and previous may be empty. The same bits for any number of
// threads.
VectorAssign assign_vectors(std::span<const float> entries, std::size_t d,
                            std::span<const float> weights, std::span<const float> importance,
                            std::span<const std::uint8_t> previous,
                            std::span<std::uint8_t> indices);

// Half the mean distance of each of the entries [k][d] to the nearest other one.
double half_distance(std::span<const float> entries, std::size_t d);

}  // namespace tessera::quant
