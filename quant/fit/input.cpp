#include "quant/fit/input.h"

#include <cmath>
#include <limits>

#include "core/error.h"

namespace tessera::quant {
namespace {

constexpr float kMaxFloat = std::numeric_limits<float>::max();

// Position of the first value for which bad(value) holds, or size.
template <class Bad>
std::size_t first_bad(std::span<const float> values, const Bad& bad) {
  const auto found =
      map_chunks<std::size_t>(values.size(), [&](std::size_t begin, std::size_t end) {
        // Branch-free first: nearly always there is none.
        bool any = false;
        for (std::size_t i = begin; i < end; ++i) any |= bad(values[i]);
        if (!any) return values.size();
        return static_cast<std::size_t>(
            std::find_if(values.begin() + begin, values.begin() + end, bad) - values.begin());
      });
  return found.empty() ? values.size() : *std::min_element(found.begin(), found.end());
}

}  // namespace

std::span<const float> checked_importance(std::span<const float> weights,
                                          std::span<const float> importance,
                                          std::string_view name) {
  check(!weights.empty(), name, ": no weights to fit a codebook to");
  check(weights.size() <= std::numeric_limits<std::uint32_t>::max(), name,
        ": more than 2^32 - 1 weights");
  const std::size_t bad = first_bad(weights, [](float w) { return !(std::abs(w) <= kMaxFloat); });
  if (bad < weights.size()) fail(name, ": weight ", bad, " is ", weights[bad]);
  if (importance.empty()) return importance;
  check(importance.size() == weights.size(), name, ": ", importance.size(),
        " importance values for ", weights.size(), " weights");
  const std::size_t bad_h =
      first_bad(importance, [](float h) { return !(h >= 0 && h <= kMaxFloat); });
  if (bad_h < importance.size()) fail(name, ": importance ", bad_h, " is ", importance[bad_h]);
  const bool any = first_bad(importance, [](float h) { return h > 0; }) < importance.size();
  return any ? importance : importance.first(0);
}

std::size_t group_size(std::size_t n, std::int64_t rows, std::int64_t group_rows) {
  check(rows >= 1 && group_rows >= 1 && n % static_cast<std::size_t>(rows) == 0, n,
        " weights do not make ", rows, " rows in groups of ", group_rows);
  return n / static_cast<std::size_t>(rows) * static_cast<std::size_t>(std::min(group_rows, rows));
}

}  // namespace tessera::quant
