#include "experiment/histograms.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace tessera::experiment {

namespace {

constexpr int kBins = 96;
constexpr std::size_t kMostEntries = 256;

// The double whose shortest text is that of the float: seven digits in the file, not seventeen.
double short_double(float value) {
  char buffer[32];
  const auto written = std::to_chars(buffer, buffer + sizeof(buffer), value);
  double out = value;
  std::from_chars(buffer, written.ptr, out);
  return out;
}

struct Range {
  float low = std::numeric_limits<float>::max(), high = std::numeric_limits<float>::lowest();

  void include(std::span<const float> values) {
    for (const float v : values) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  // Never empty.
  void widen() {
    if (low > high) low = high = 0;
    if (low < high) return;
    const float half = std::max(std::abs(low) * 0.01f, 1e-6f);
    low -= half;
    high += half;
  }
};

Json binned(std::span<const float> values, const Range& range) {
  std::vector<std::int64_t> counts(kBins);
  const double scale = kBins / (static_cast<double>(range.high) - range.low);
  for (const float v : values) {
    if (!std::isfinite(v)) continue;
    const int bin = static_cast<int>((static_cast<double>(v) - range.low) * scale);
    ++counts[static_cast<std::size_t>(std::clamp(bin, 0, kBins - 1))];
  }
  return counts;
}

// Weights that have each entry, [groups][k].
std::vector<std::int64_t> entry_counts(const quant::CodebookTensor& c) {
  std::vector<std::int64_t> counts(c.entries.size());
  const auto rows = static_cast<std::size_t>(c.shape[0].value());
  const std::size_t row = c.indices.size() / rows;
  const std::int64_t group_rows = c.format.group_rows;
  for (std::size_t i = 0; i < c.indices.size(); ++i) {
    const std::size_t group = group_rows == 0 ? 0 : i / row / static_cast<std::size_t>(group_rows);
    ++counts.at(group * static_cast<std::size_t>(c.k) + c.indices[i]);
  }
  return counts;
}

Json tensor_histogram(const std::string& name, const std::vector<float>& before,
                      const std::vector<float>& after, const quant::CodebookTensor& codebook) {
  Range range;
  range.include(before);
  range.include(after);
  // Then entries are no weights.
  const bool scaled = !codebook.scales.empty() || codebook.format.vector_len > 1;
  if (!scaled) range.include(codebook.entries);
  range.widen();
  Json out = {{"name", name},
              {"shape", codebook.shape.text()},
              {"low", short_double(range.low)},
              {"high", short_double(range.high)},
              {"reference", binned(before, range)},
              {"after", binned(after, range)},
              {"k", codebook.k},
              {"groups", codebook.format.groups(codebook.shape)}};
  if (codebook.entries.size() <= kMostEntries && !scaled) {
    Json& entries = out["entries"] = Json::array();
    for (const float e : codebook.entries) entries.push_back(short_double(e));
    out["counts"] = entry_counts(codebook);
  } else {
    std::vector<float> decoded(before.size());
    codebook.decode(decoded);
    out["decoded"] = binned(decoded, range);
  }
  return out;
}

}  // namespace

Json weight_histograms(const State& reference, const State& after,
                       const quant::Codebooks& codebooks) {
  Json out = {{"format", "tessera.histograms"}, {"tensors", Json::array()}};
  for (const auto& [name, codebook] : codebooks) {
    out["tensors"].push_back(tensor_histogram(name, reference.get(name).to_vector<float>(),
                                              after.get(name).to_vector<float>(), codebook));
  }
  return out;
}

}  // namespace tessera::experiment
