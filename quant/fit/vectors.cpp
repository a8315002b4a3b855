#include "quant/fit/vectors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "quant/fit/fit.h"
#include "quant/fit/input.h"

namespace tessera::quant {
namespace {

constexpr std::size_t kMostEntries = 256;
constexpr std::size_t kVectorChunk = 2048;
constexpr int kMostRounds = 100;
constexpr double kSettled = 1e-4;  // a smaller gain of the error in a round ends a cold start
constexpr std::uint64_t kSeed = 1;

struct Vectors {
  std::span<const float> weights, importance;
  std::size_t d;

  std::size_t count() const { return weights.size() / d; }
  double h(std::size_t i) const { return importance.empty() ? 1.0 : importance[i]; }
  double distance(std::size_t vector, const float* entry) const {
    double sum = 0;
    for (std::size_t e = 0; e < d; ++e) {
      const double miss = static_cast<double>(weights[vector * d + e]) - entry[e];
      sum += h(vector * d + e) * miss * miss;
    }
    return sum;
  }
};

// k-means++ (Arthur & Vassilvitskii, SODA 2007): each entry a vector drawn by its distance to the
// entries there are. A vector that is there twice is never drawn again.
std::vector<float> plus_plus(const Vectors& v, std::size_t k, std::uint64_t group) {
  Rng rng(kSeed, group);
  std::vector<float> entries;
  std::vector<double> apart(v.count(), std::numeric_limits<double>::infinity());
  std::size_t next = rng.below(v.count());
  while (true) {
    const float* entry = v.weights.data() + next * v.d;
    entries.insert(entries.end(), entry, entry + v.d);
    if (entries.size() == k * v.d) return entries;
    const auto sums = map_chunks<double>(
        v.count(),
        [&](std::size_t begin, std::size_t end) {
          double sum = 0;
          for (std::size_t i = begin; i < end; ++i) {
            apart[i] = std::min(apart[i], v.distance(i, entry));
            sum += apart[i];
          }
          return sum;
        },
        kVectorChunk);
    double at = rng.uniform() * std::accumulate(sums.begin(), sums.end(), 0.0);
    if (at <= 0) {  // fewer different vectors than entries: the rest repeat the last
      while (entries.size() < k * v.d) entries.push_back(entries[entries.size() - v.d]);
      return entries;
    }
    for (next = 0; next + 1 < v.count() && at >= apart[next]; ++next) at -= apart[next];
  }
}

// Means of the vectors of every entry; an entry without any moves to a vector that is farthest from
// its own.
void move_entries(const Vectors& v, std::span<const std::uint8_t> indices,
                  std::vector<float>& entries) {
  struct Sums {
    std::vector<double> moment, mass;
  };
  const std::size_t size = entries.size(), k = size / v.d;
  const auto parts = map_chunks<Sums>(
      v.count(),
      [&](std::size_t begin, std::size_t end) {
        Sums sums{std::vector<double>(size), std::vector<double>(size)};
        for (std::size_t i = begin; i < end; ++i) {
          for (std::size_t e = 0; e < v.d; ++e) {
            const std::size_t from = i * v.d + e, to = indices[i] * v.d + e;
            sums.moment[to] += v.h(from) * v.weights[from];
            sums.mass[to] += v.h(from);
          }
        }
        return sums;
      },
      kVectorChunk);
  Sums all{std::vector<double>(size), std::vector<double>(size)};
  for (const Sums& part : parts) {
    for (std::size_t i = 0; i < size; ++i) {
      all.moment[i] += part.moment[i];
      all.mass[i] += part.mass[i];
    }
  }
  std::vector<std::size_t> count(k);
  for (const std::uint8_t index : indices) ++count[index];
  for (std::size_t i = 0; i < size; ++i) {
    if (all.mass[i] > 0) entries[i] = static_cast<float>(all.moment[i] / all.mass[i]);
  }
  if (std::find(count.begin(), count.end(), 0u) == count.end()) return;
  std::vector<double> miss(v.count());
  for (std::size_t i = 0; i < miss.size(); ++i)
    miss[i] = v.distance(i, entries.data() + indices[i] * v.d);
  for (std::size_t j = 0; j < k; ++j) {
    if (count[j] > 0) continue;
    const auto far =
        static_cast<std::size_t>(std::max_element(miss.begin(), miss.end()) - miss.begin());
    if (!(miss[far] > 0)) return;
    std::copy_n(v.weights.data() + far * v.d, v.d, entries.data() + j * v.d);
    miss[far] = 0;
  }
}

struct VectorFit {
  std::vector<float> entries;
  std::vector<std::uint8_t> indices;
  double error = 0;
};

// Lloyd's alternation. The best round counts: rounding entries to f32 may cost the last one.
VectorFit alternate(const Vectors& v, std::vector<float> entries, double settled) {
  VectorFit best;
  best.error = std::numeric_limits<double>::infinity();
  std::vector<std::uint8_t> indices(v.count());
  for (int round = 0; round < kMostRounds; ++round) {
    const VectorAssign now =
        assign_vectors(entries, v.d, v.weights, v.importance,
                       round == 0 ? std::span<std::uint8_t>() : indices, indices);
    if (!(now.error < best.error)) break;
    const bool done = round > 0 && (now.changed == 0 || now.error > (1 - settled) * best.error);
    best = {entries, indices, now.error};
    if (done) break;
    move_entries(v, indices, entries);
  }
  return best;
}

}  // namespace

VectorAssign assign_vectors(std::span<const float> entries, std::size_t d,
                            std::span<const float> weights, std::span<const float> importance,
                            std::span<const std::uint8_t> previous,
                            std::span<std::uint8_t> indices) {
  const std::size_t k = entries.size() / d;
  TESSERA_ASSERT(k >= 1 && k <= kMostEntries && weights.size() == indices.size() * d);
  std::vector<float> across(entries.size());  // [d][k]: distances to all entries side by side
  for (std::size_t j = 0; j < k; ++j) {
    for (std::size_t e = 0; e < d; ++e) across[e * k + j] = entries[j * d + e];
  }
  const Vectors v{weights, importance, d};
  const auto parts = map_chunks<VectorAssign>(
      indices.size(),
      [&](std::size_t begin, std::size_t end) {
        VectorAssign part;
        std::array<float, kMostEntries> apart;
        for (std::size_t i = begin; i < end; ++i) {
          std::fill_n(apart.begin(), k, 0.0f);
          for (std::size_t e = 0; e < d; ++e) {
            const float w = weights[i * d + e], h = static_cast<float>(v.h(i * d + e));
            const float* c = across.data() + e * k;
            for (std::size_t j = 0; j < k; ++j) apart[j] += h * (w - c[j]) * (w - c[j]);
          }
          const auto index = static_cast<std::uint8_t>(
              std::min_element(apart.begin(), apart.begin() + k) - apart.begin());
          if (!previous.empty()) part.changed += previous[i] != index;
          indices[i] = index;
          part.error += v.distance(i, entries.data() + index * d);
        }
        return part;
      },
      kVectorChunk);
  VectorAssign total;
  for (const VectorAssign& part : parts) {
    total.error += part.error;
    total.changed += part.changed;
  }
  return total;
}

double half_distance(std::span<const float> entries, std::size_t d) {
  const std::size_t k = entries.size() / d;
  double sum = 0;
  for (std::size_t a = 0; a < k; ++a) {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t b = 0; b < k; ++b) {
      if (a == b) continue;
      least = std::min(least, Vectors{entries, {}, d}.distance(a, entries.data() + b * d));
    }
    if (k > 1) sum += std::sqrt(least);
  }
  return 0.5 * sum / static_cast<double>(k);
}

GroupedFit fit_vectors(const CodebookSpec& spec, std::span<const float> weights, std::int64_t rows,
                       std::int64_t group_rows, std::span<const float> importance,
                       const GroupedFit* warm_start, FitOptions options) {
  importance = checked_importance(weights, importance, options.name);
  const std::size_t n = weights.size(), size = group_size(n, rows, group_rows);
  const auto d = static_cast<std::size_t>(spec.vector_len()),
             k = static_cast<std::size_t>(spec.size());
  check(n / static_cast<std::size_t>(rows) % d == 0, options.name, ": rows of ",
        n / static_cast<std::size_t>(rows), " weights are not whole vectors of ", d);
  GroupedFit result;
  result.groups = static_cast<std::int64_t>((n + size - 1) / size);
  result.k = spec.size();
  result.indices.resize(n / d);
  check(!warm_start || (warm_start->groups == result.groups && warm_start->k == result.k &&
                        warm_start->indices.size() == n / d),
        options.name, ": the warm start has other groups");
  std::int64_t changed = 0;
  for (std::int64_t g = 0; g < result.groups; ++g) {
    const std::size_t first = static_cast<std::size_t>(g) * size, count = std::min(size, n - first);
    const Vectors v{weights.subspan(first, count),
                    importance.empty() ? importance : importance.subspan(first, count), d};
    std::vector<float> start;
    if (warm_start) {
      const auto at = warm_start->entries.begin() + g * result.k * spec.vector_len();
      start.assign(at, at + result.k * spec.vector_len());
      for (const float c : start) {
        check(std::isfinite(c), options.name, ": the warm start has entries that are not finite");
      }
    } else {
      start = plus_plus(v, k, static_cast<std::uint64_t>(g));
    }
    VectorFit part = alternate(v, std::move(start), warm_start ? 0 : kSettled);
    for (std::size_t i = 0; i < part.indices.size(); ++i) {
      result.indices[first / d + i] = part.indices[i];
      if (warm_start) changed += warm_start->indices[first / d + i] != part.indices[i];
    }
    result.entries.insert(result.entries.end(), part.entries.begin(), part.entries.end());
    result.error += part.error;
  }
  if (warm_start)
    result.changed = static_cast<double>(changed) / static_cast<double>(result.indices.size());
  return result;
}

}  // namespace tessera::quant
