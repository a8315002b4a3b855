#include "quant/fit/fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/encoding.h"
#include "core/error.h"
#include "core/parallel.h"
#include "quant/fit/assign.h"
#include "quant/fit/input.h"
#include "quant/fit/kmeans1d.h"
#include "quant/fit/lloyd.h"
#include "quant/fit/multibit.h"
#include "quant/fit/scale.h"
#include "quant/fit/sorted.h"

namespace tessera::quant {
namespace {

// sum h |w| / sum h: the best {-a, a}.
double mean_magnitude(std::span<const float> weights, std::span<const float> importance) {
  using Sums = std::pair<double, double>;
  const auto partial = map_chunks<Sums>(weights.size(), [&](std::size_t begin, std::size_t end) {
    Sums sums{0, 0};
    for (std::size_t i = begin; i < end; ++i) {
      const double h = importance.empty() ? 1.0 : importance[i];
      sums.first += h * std::abs(weights[i]);
      sums.second += h;
    }
    return sums;
  });
  Sums total{0, 0};
  for (const Sums& sums : partial) total.first += sums.first, total.second += sums.second;
  return total.first / total.second;
}

std::vector<float> adaptive_entries(const CodebookSpec& spec, std::span<const float> weights,
                                    std::span<const float> importance, const FitOptions& options) {
  const auto k = static_cast<std::size_t>(spec.size());
  std::vector<float> start;
  if (options.warm_start) {
    start = options.warm_start->entries;
    std::sort(start.begin(), start.end());
    start.erase(std::unique(start.begin(), start.end()), start.end());
    const bool usable = start.size() <= k && std::all_of(start.begin(), start.end(),
                                                         [](float c) { return std::isfinite(c); });
    check(usable, options.name, ": the warm start has ", start.size(), " entries for ", spec.text(),
          ", or not finite ones");
  }
  const SortedWeights sorted(weights, importance);
  if (!start.empty() && !options.exact) return lloyd(sorted, std::move(start), k).entries;
  return exact_kmeans(sorted, k, start);
}

// fit() for checked input.
CodebookFit fit_checked(const CodebookSpec& spec, std::span<const float> weights,
                        std::span<const float> importance, const FitOptions& options) {
  CodebookFit result;
  if (spec.kind() == CodebookSpec::Kind::kAdaptive) {
    result.entries = adaptive_entries(spec, weights, importance, options);
  } else if (spec.kind() == CodebookSpec::Kind::kMultibit) {
    result.entries = multibit_entries(weights, importance, spec.bits());
  } else {
    result.entries = spec.entries();
  }
  if (spec.kind() == CodebookSpec::Kind::kScaled) {
    const bool binary = spec == CodebookSpec::scaled_binary();
    const double scale = binary ? mean_magnitude(weights, importance)
                                : best_scale(SortedWeights(weights, importance), result.entries);
    result.scale = static_cast<float>(scale);
    for (float& entry : result.entries) entry = static_cast<float>(scale * entry) + 0.0f;
  }
  result.indices.resize(weights.size());
  std::span<const std::uint8_t> previous;
  if (options.warm_start) previous = options.warm_start->indices;
  check(previous.empty() || previous.size() == weights.size(), options.name,
        ": the warm start has ", previous.size(), " indices for ", weights.size(), " weights");
  const AssignResult assigned =
      assign_nearest(result.entries, weights, importance, previous, result.indices);
  result.error = assigned.error;
  if (!previous.empty())
    result.changed = static_cast<double>(assigned.changed) / static_cast<double>(weights.size());
  return result;
}

// ||w - Delta||^2 and ||w||^2 of part of a tensor.
struct Norms {
  double miss = 0, weight = 0;

  Norms& operator+=(const Norms& other) {
    miss += other.miss, weight += other.weight;
    return *this;
  }
  double ratio() const {
    if (miss == 0) return 0;
    return weight > 0 ? std::sqrt(miss / weight) : std::numeric_limits<double>::infinity();
  }
};

Norms norms(std::span<const float> weights, std::span<const float> entries,
            std::span<const std::uint8_t> indices) {
  TESSERA_ASSERT(indices.size() == weights.size());
  const auto partial = map_chunks<Norms>(weights.size(), [&](std::size_t begin, std::size_t end) {
    Norms part;
    for (std::size_t i = begin; i < end; ++i) {
      const double w = weights[i], miss = w - entries[indices[i]];
      part += {miss * miss, w * w};
    }
    return part;
  });
  Norms total;
  for (const Norms& part : partial) total += part;
  return total;
}

}  // namespace

CodebookFit fit(const CodebookSpec& spec, std::span<const float> weights,
                std::span<const float> importance, const FitOptions& options) {
  return fit_checked(spec, weights, checked_importance(weights, importance, options.name), options);
}

GroupedFit fit_row_groups(const CodebookSpec& spec, std::span<const float> weights,
                          std::int64_t rows, std::int64_t group_rows,
                          std::span<const float> importance, const GroupedFit* warm_start,
                          FitOptions options) {
  checked_importance(weights, importance, options.name);
  const std::size_t n = weights.size(), size = group_size(n, rows, group_rows);
  GroupedFit result;
  result.groups = static_cast<std::int64_t>((n + size - 1) / size);
  check(!warm_start || (warm_start->groups == result.groups && warm_start->indices.size() == n),
        options.name, ": the warm start has other groups");
  std::vector<CodebookFit> fits(result.groups);
  parallel_for(result.groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      const std::size_t first = g * size, count = std::min(size, n - first);
      const auto part = weights.subspan(first, count);
      auto part_importance = importance;
      if (!importance.empty()) part_importance = importance.subspan(first, count);
      CodebookFit start;
      FitOptions own = options;
      if (warm_start) {
        const auto entries = warm_start->entries.begin() + g * warm_start->k;
        const auto indices = warm_start->indices.begin() + static_cast<std::ptrdiff_t>(first);
        start.entries.assign(entries, entries + warm_start->k);
        start.indices.assign(indices, indices + static_cast<std::ptrdiff_t>(count));
        own.warm_start = &start;
      }
      fits[g] = fit(spec, part, part_importance, own);
    }
  });
  double changed = 0;
  for (const CodebookFit& part : fits) {
    result.k = std::max(result.k, static_cast<std::int64_t>(part.entries.size()));
    changed += part.changed * static_cast<double>(part.indices.size());
  }
  result.indices.reserve(n);
  for (CodebookFit& part : fits) {
    part.entries.resize(result.k, part.entries.back());
    result.entries.insert(result.entries.end(), part.entries.begin(), part.entries.end());
    result.indices.insert(result.indices.end(), part.indices.begin(), part.indices.end());
    result.scales.push_back(part.scale);
    result.error += part.error;
  }
  result.changed = changed / static_cast<double>(n);
  return result;
}

GroupedFit fit_blocks(const CodebookSpec& spec, std::span<const float> weights, std::int64_t rows,
                      std::span<const float> importance, const GroupedFit* warm_start,
                      FitOptions options) {
  checked_importance(weights, importance, options.name);
  const std::size_t n = weights.size(), row = group_size(n, rows, 1);
  const std::size_t block = spec.scale_block() == CodebookFormat::kScalePerRow
                                ? row
                                : static_cast<std::size_t>(spec.scale_block());
  check(block >= 1, options.name, ": ", spec.text(), " has no scale per block");
  const std::size_t per_row = (row + block - 1) / block;
  const CodebookSpec plain = spec.with_scale_block(0);
  GroupedFit result;
  result.groups = 1;
  result.k = spec.size();
  result.entries = spec.entries();
  result.scales.resize(static_cast<std::size_t>(rows) * per_row);
  result.indices.resize(n);
  std::vector<double> errors(result.scales.size()), changed(result.scales.size());
  parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::size_t b = begin * per_row; b < end * per_row; ++b) {
      const std::size_t first = b / per_row * row + b % per_row * block;
      const std::size_t count = std::min(block, (b / per_row + 1) * row - first);
      CodebookFit start;
      FitOptions own = options;
      own.warm_start = nullptr;
      if (warm_start) {
        start.indices.assign(warm_start->indices.begin() + first,
                             warm_start->indices.begin() + first + count);
        own.warm_start = &start;
      }
      const CodebookFit part =
          fit(plain, weights.subspan(first, count),
              importance.empty() ? importance : importance.subspan(first, count), own);
      std::copy(part.indices.begin(), part.indices.end(), result.indices.begin() + first);
      result.scales[b] = part.scale;
      errors[b] = part.error;
      changed[b] = part.changed * static_cast<double>(count);
    }
  });
  result.error = std::accumulate(errors.begin(), errors.end(), 0.0);
  result.changed = std::accumulate(changed.begin(), changed.end(), 0.0) / static_cast<double>(n);
  return result;
}

double quantization_error(std::span<const float> weights, const CodebookFit& fit) {
  return norms(weights, fit.entries, fit.indices).ratio();
}

double quantization_error(std::span<const float> weights, std::int64_t rows,
                          std::int64_t group_rows, const GroupedFit& fit) {
  const std::size_t size = group_size(weights.size(), rows, group_rows);
  Norms total;
  for (std::int64_t g = 0; g < fit.groups; ++g) {
    const std::size_t first = g * size, count = std::min(size, weights.size() - first);
    total += norms(weights.subspan(first, count), std::span(fit.entries).subspan(g * fit.k, fit.k),
                   std::span(fit.indices).subspan(first, count));
  }
  return total.ratio();
}

double index_entropy(std::span<const std::uint8_t> indices) {
  std::array<std::int64_t, 256> counts{};
  for (const std::uint8_t index : indices) ++counts[index];
  return count_entropy(counts);
}

double count_entropy(std::span<const std::int64_t> counts) {
  double total = 0, bits = 0;
  for (const std::int64_t count : counts) total += static_cast<double>(count);
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / total;
    bits -= share * std::log2(share);
  }
  return bits;
}

}  // namespace tessera::quant
