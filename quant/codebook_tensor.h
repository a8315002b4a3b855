// A weight as a codebook: what a C step makes of a tensor, and what hardening stores.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/encoding.h"
#include "core/state.h"
#include "quant/fit.h"

namespace tessera::quant {

struct CodebookTensor {
  Shape shape;
  CodebookFormat format;              // f32 entries, scope and bits
  std::int64_t k = 0;                 // entries per group
  std::vector<float> entries;         // [groups][k], ascending in each group
  std::vector<std::uint8_t> indices;  // one per weight, row-major
  double error = 0;                   // squared distance to the weights, weighted if they were
  double changed = 0;                 // share of indices that differ from the warm start

  // Delta(Theta): the decoded weights.
  void decode(std::span<float> out) const;
  // Puts NAME.indices (packed) and NAME.entries into the state.
  void store(State& state, const std::string& name) const;
  // Entropy of the indices in bits per weight, all groups together.
  double entropy_bits() const;
};

// Fits one codebook per `group_rows` rows (0: one for the tensor). `warm` may be null. Errors name
// the tensor.
CodebookTensor fit_tensor(const std::string& name, const CodebookSpec& spec, const Shape& shape,
                          std::int64_t group_rows, std::span<const float> weights,
                          std::span<const float> importance = {},
                          const CodebookTensor* warm = nullptr);

}  // namespace tessera::quant
