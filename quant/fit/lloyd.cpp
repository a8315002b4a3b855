#include "quant/fit/lloyd.h"

#include <algorithm>

#include "core/error.h"
#include "quant/fit/assign.h"

namespace tessera::quant {
namespace {

// What an additional entry would repair most: the end of the cell with the largest error.
struct Repair {
  double spread = 0;
  float value = 0;
};

void find_cells(const SortedWeights& weights, Cells& cells) {
  const std::vector<float> limits = cell_limits(cells.entries);
  cells.bounds.resize(cells.entries.size() + 1, 0);
  cells.bounds.front() = 0;
  for (std::size_t k = 0; k < limits.size(); ++k)
    cells.bounds[k + 1] = weights.count_not_above(limits[k], cells.bounds[k + 1]);
  cells.bounds.back() = weights.size();
}

// Means of the cells, then new entries for the places left free. Returns the cells' error.
double move_entries(const SortedWeights& weights, std::size_t k, Cells& cells) {
  double error = 0;
  std::vector<float> entries;
  std::vector<Repair> repairs;
  Moments below;
  for (std::size_t c = 0; c + 1 < cells.bounds.size(); ++c) {
    const std::size_t begin = cells.bounds[c], end = cells.bounds[c + 1];
    if (begin >= end) continue;
    const Moments up_to = weights.before(end), cell = up_to - below;
    below = up_to;
    const double mean = weights.mean(cell);
    const float low = weights[begin], high = weights[end - 1];
    entries.push_back(std::clamp(static_cast<float>(mean), low, high) + 0.0f);
    error += cell.spread();
    if (low < high) repairs.push_back({cell.spread(), mean - low > high - mean ? low : high});
  }
  if (entries.size() < k && !repairs.empty()) {
    const std::size_t missing = std::min(k - entries.size(), repairs.size());
    std::partial_sort(repairs.begin(), repairs.begin() + missing, repairs.end(),
                      [](const Repair& a, const Repair& b) { return a.spread > b.spread; });
    for (std::size_t i = 0; i < missing; ++i) entries.push_back(repairs[i].value);
    std::sort(entries.begin(), entries.end());
    entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
  }
  cells.entries = std::move(entries);
  return error;
}

}  // namespace

Cells lloyd(const SortedWeights& weights, std::vector<float> entries, std::size_t k,
            int max_iterations) {
  TESSERA_ASSERT(!entries.empty() && entries.size() <= k);
  Cells cells{std::move(entries), {}, 0};
  for (int i = 0; i < max_iterations; ++i) {
    const std::vector<float> before = cells.entries;
    find_cells(weights, cells);
    cells.error = move_entries(weights, k, cells);
    if (cells.entries == before) break;
  }
  return cells;
}

std::vector<float> cell_means(const SortedWeights& weights, std::span<const std::size_t> bounds) {
  std::vector<float> entries;
  for (std::size_t c = 0; c + 1 < bounds.size(); ++c) {
    if (bounds[c] >= bounds[c + 1]) continue;
    const double mean = weights.mean(weights.between(bounds[c], bounds[c + 1]));
    entries.push_back(
        std::clamp(static_cast<float>(mean), weights[bounds[c]], weights[bounds[c + 1] - 1]) +
        0.0f);
  }
  return entries;
}

}  // namespace tessera::quant
