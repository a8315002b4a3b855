// Lloyd's alternation on sorted weights: the warm-started C step.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "quant/fit/sorted.h"

namespace tessera::quant {

// A codebook and the cells of the sorted weights that it means: cell k is
// [bounds[k], bounds[k + 1]), with bounds[0] = 0 and the last bound = size().
struct Cells {
  std::vector<float> entries;  // ascending
  std::vector<std::size_t> bounds;
  double error = 0;  // sum h (w - mean of its cell)^2: what these cells can reach
};

// Alternates nearest assignment and entry = mean of its cell until the entries repeat themselves,
// or max_iterations. Entries are rounded to f32 in every round, so that the error never rises: the
// float nearest to a cell's mean is the best float for that cell. An entry that lost its cell, and
// entries missing up to k, are put on the far end of the cell with the largest error; where no cell
// has an error left the codebook stays smaller than k. entries: ascending, 1..k of them.
//
// A round costs K binary searches and no pass over the weights, because cells are ranges.
Cells lloyd(const SortedWeights& weights, std::vector<float> entries, std::size_t k,
            int max_iterations = 10000);

// Entries for given cells (bounds as in Cells; empty cells give none).
std::vector<float> cell_means(const SortedWeights& weights, std::span<const std::size_t> bounds);

}  // namespace tessera::quant
