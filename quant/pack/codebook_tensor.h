// A weight as a codebook: what a C step makes of a tensor, and what hardening stores.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/encoding.h"
#include "core/state.h"
#include "quant/fit/fit.h"

namespace tessera::quant {

// What is added to a few weights beside their codebook.
struct SparsePart {
  std::vector<std::int64_t> positions;  // row-major, ascending
  std::vector<float> values;            // as many

  bool empty() const { return positions.empty(); }
  // ceil(share * weights): how many weights a share of them is.
  static std::int64_t count(double share, std::int64_t weights);
};

struct CodebookTensor {
  Shape shape;
  CodebookFormat format;              // f32 entries (else see entries.h), scope and bits
  std::int64_t k = 0;                 // entries per group
  std::vector<float> entries;         // values as stored, [groups][k], ascending in each group; of
                                      // vectors [groups][k][vector_len], in any order
  std::vector<float> scales;          // [rows][blocks], where the format has a scale
  std::vector<std::uint8_t> indices;  // one per weight or vector, row-major
  double error = 0;                   // squared distance to the weights, weighted if they were
  double changed = 0;                 // share of indices that differ from the warm start
  SparsePart sparse;                  // the correction, if any
  std::string shares;                 // the tensor under whose name shared entries stand, or ""

  // Delta(Theta): the decoded weights, with the correction.
  void decode(std::span<float> out) const;
  // Names of the planes of the tensor `name`.
  std::string entries_name(const std::string& name) const {
    return (shares.empty() ? name : shares) + ".entries";
  }
  static std::string indices_name(const std::string& name) { return name + ".indices"; }
  // Of the weight whose indices have this name; the name itself where it is another one.
  static std::string weight_name(const std::string& indices);
  static std::string scale_name(const std::string& name) { return name + ".scale"; }
  static std::string positions_name(const std::string& name) { return name + ".sparse.positions"; }
  static std::string values_name(const std::string& name) { return name + ".sparse.values"; }
  // Puts the planes (indices packed, positions encoded) into the state. Throws Error when the state
  // holds other entries under the shared name.
  void store(State& state, const std::string& name) const;
  // Entropy of the indices in bits per weight, all groups together.
  double entropy_bits() const;
};

// Fits one codebook per `group_rows` rows (0: one for the tensor), or one scale per block of a spec
// that has those, for which group_rows is 0. `warm` may be null. Errors name the tensor.
//
// With `sparse` in (0, 1), ceil(sparse * n) weights get what their entry lacks (additive
// combination of Carreira-Perpinan & Idelbayev's LC toolkit): the codebook and the largest
// residuals are found by turns, at most kAlternations times, none of which raises the error; from
// the places of the warm start, else from the plain codebook and from the outliers. While
// a weight is corrected its entry does not matter, so the codebook is the exact one of all others:
// the least error over codebook and values together at the places chosen last.
CodebookTensor fit_tensor(const std::string& name, const CodebookSpec& spec, const Shape& shape,
                          std::int64_t group_rows, std::span<const float> weights,
                          std::span<const float> importance = {},
                          const CodebookTensor* warm = nullptr, double sparse = 0);

inline constexpr int kAlternations = 10;

// Several tensors with one set of entries: the codebook of all their weights together. Each has its
// own correction. The first gives the entries their name.
struct SharedPart {
  std::string name;
  Shape shape;
  std::span<const float> weights;
  std::span<const float> importance = {};  // of all parts or none
  const CodebookTensor* warm = nullptr;    // of all parts or none
};
std::vector<CodebookTensor> fit_shared(const CodebookSpec& spec, std::span<const SharedPart> parts,
                                       double sparse = 0);

}  // namespace tessera::quant
