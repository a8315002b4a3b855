// Codebooks that keep a layer's output instead of its weights: errors of the weights of a row count
// together, by how their inputs vary (calibrate/input_moments.h).
// Source: codes in GPTQ's order, Frantar et al., ICLR 2023 (arXiv 2210.17323, algorithm 1); entries
// by normal equations and codes by coordinate descent: LNQ of Kim et al., "GuidedQuant", ICML 2025
// (arXiv 2505.07004, section 4).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/calibrate/input_moments.h"
#include "quant/pack/codebook_tensor.h"

namespace tessera::quant {

// One layer's weights and what an error of them costs: E(Q) = sum over parts of tr((W - Q) H
// (W - Q)'). All steps change a codebook tensor of these weights whose format has no scale blocks
// and no vectors; entries stay ascending in each group of rows.
class OutputFit {
 public:
  // W f32[rows, columns], as many as the parts tile. `damping`: this share of H's mean diagonal is
  // added to its diagonal, which keeps a moment of few samples from being taken for a certainty.
  // Keeps a reference to the weights.
  OutputFit(std::span<const float> weights, std::int64_t rows, std::vector<InputMoments> parts,
            double damping);

  // E(Q) / E(0).
  double error(const CodebookTensor& codebook) const;
  // The importance of each weight alone: H's diagonal.
  std::vector<float> importance() const;
  // New codes: column by column the nearest entry, each column's error made up for by those that
  // follow. rows columns^2 flops. Throws Error where H is not positive definite.
  void round(CodebookTensor& codebook) const;
  // Codes by coordinate descent, never to a larger error; returns how many changes. At most
  // `passes` over the columns. 2 rows columns^2 flops, and 2 columns for each change.
  std::int64_t descend(CodebookTensor& codebook, int passes) const;
  // The free numbers of the spec's entries (all of an adaptive codebook, the scale of a scaled one,
  // none of others) by the normal equations of these codes, in each group of rows, by conjugate
  // gradients; never to a larger error. 2 rows columns^2 flops a turn, at most kMostTurns.
  void refit(CodebookTensor& codebook, const CodebookSpec& spec) const;

  static constexpr int kMostTurns = 16;

 private:
  struct Chunk;  // some rows of a part
  std::vector<Chunk> chunks() const;
  // For each entry of each group: the sum of (values H) over the weights that have it.
  std::vector<double> by_entry(const CodebookTensor& codebook, std::span<const float> values) const;
  std::vector<float> misses(const CodebookTensor& codebook) const;  // W - Q

  std::span<const float> weights_;
  std::int64_t rows_, columns_;
  std::vector<InputMoments> parts_;
};

}  // namespace tessera::quant
