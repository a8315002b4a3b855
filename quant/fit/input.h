// What every fit asks of its weights, and the chunks that fits sum over.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/parallel.h"

namespace tessera::quant {

inline constexpr std::size_t kFitChunk = 1 << 15;

// map(begin, end) over fixed chunks; the results in order: sums over them are the same for any
// number of threads.
template <class Result, class Map>
std::vector<Result> map_chunks(std::size_t n, const Map& map, std::size_t chunk = kFitChunk) {
  std::vector<Result> results((n + chunk - 1) / chunk);
  parallel_for(static_cast<std::int64_t>(results.size()), 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c)
                   results[c] = map(c * chunk, std::min<std::size_t>(n, (c + 1) * chunk));
               });
  return results;
}

// Throws Error for no weights, NaN or infinity, importance of another length, negative or not
// finite, naming the tensor and the position. Returns the importance, empty when it is zero
// everywhere.
std::span<const float> checked_importance(std::span<const float> weights,
                                          std::span<const float> importance, std::string_view name);

// Weights of a group of rows. Throws Error where they do not make whole rows.
std::size_t group_size(std::size_t n, std::int64_t rows, std::int64_t group_rows);

}  // namespace tessera::quant
