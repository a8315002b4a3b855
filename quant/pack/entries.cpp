#include "quant/pack/entries.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

namespace tessera::quant {

namespace {

constexpr int kMostInteger = 127;

void round_to_bf16(std::span<float> entries) {
  for (float& e : entries) e = f32_from_bf16(bf16_from_f32(e));
}

// The entries become integers; returns what they are to be multiplied with.
float round_to_integers(std::span<float> entries) {
  float most = 0;
  for (const float e : entries) most = std::max(most, std::abs(e));
  if (most == 0) return 1;
  double least = std::numeric_limits<double>::infinity();
  float best = 1;
  for (int m = 1; m <= kMostInteger; ++m) {
    const float scale = most / static_cast<float>(m);
    double error = 0;
    for (const float e : entries) {
      const double miss = static_cast<double>(std::round(e / scale)) * scale - e;
      error += miss * miss;
    }
    // Of equal ones the first: the smallest integers.
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  for (float& e : entries) e = std::round(e / best);
  return best;
}

void round_to_s8(CodebookTensor& c) {
  const std::int64_t groups = c.format.groups(c.shape), rows = CodebookFormat::rows(c.shape);
  const std::size_t per_group = c.entries.size() / static_cast<std::size_t>(groups);
  if (c.scales.empty()) {
    c.format.scale_block = CodebookFormat::kScalePerRow;
    c.scales.assign(static_cast<std::size_t>(c.format.scale_shape(c.shape).numel()), 1.0f);
  }
  const std::size_t per_row = c.scales.size() / static_cast<std::size_t>(rows);
  for (std::int64_t g = 0; g < groups; ++g) {
    const auto own =
        std::span(c.entries).subspan(static_cast<std::size_t>(g) * per_group, per_group);
    const float scale = round_to_integers(own);
    const std::int64_t first = g * c.format.group_rows,
                       last = c.format.group_rows == 0
                                  ? rows
                                  : std::min(rows, first + c.format.group_rows);
    for (std::size_t i = static_cast<std::size_t>(first) * per_row;
         i < static_cast<std::size_t>(last) * per_row; ++i)
      c.scales[i] *= scale;
  }
}

}  // namespace

CodebookTensor with_entries(CodebookTensor codebook, DType dtype) {
  check(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::s8,
        "codebook entries are stored as f32, bf16 or s8, not ", name(dtype));
  TESSERA_ASSERT(codebook.format.entry_dtype == DType::f32);
  if (dtype == DType::f32) return codebook;
  std::vector<float> before(static_cast<std::size_t>(codebook.shape.numel()));
  if (!codebook.sparse.empty()) codebook.decode(before);
  if (dtype == DType::bf16) {
    round_to_bf16(codebook.entries);
  } else {
    round_to_s8(codebook);
  }
  codebook.format.entry_dtype = dtype;
  if (codebook.sparse.empty()) return codebook;
  std::vector<float> after(before.size());
  codebook.decode(after);
  for (std::size_t j = 0; j < codebook.sparse.positions.size(); ++j) {
    const auto i = static_cast<std::size_t>(codebook.sparse.positions[j]);
    codebook.sparse.values[j] += before[i] - after[i];
  }
  return codebook;
}

Codebooks with_entries(const Codebooks& codebooks, DType dtype) {
  Codebooks out;
  for (const auto& [name, codebook] : codebooks) out.emplace(name, with_entries(codebook, dtype));
  return out;
}

const Names<DType>& entry_types() {
  static const Names<DType> all("type of codebook entries",
                                {{"f32", DType::f32}, {"bf16", DType::bf16}, {"s8", DType::s8}});
  return all;
}

}  // namespace tessera::quant
