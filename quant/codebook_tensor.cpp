#include "quant/codebook_tensor.h"

#include "ops/codebook/decode.h"

namespace tessera::quant {

CodebookTensor fit_tensor(const std::string& name, const CodebookSpec& spec, const Shape& shape,
                          std::int64_t group_rows, std::span<const float> weights,
                          std::span<const float> importance, const CodebookTensor* warm) {
  CodebookTensor out;
  out.shape = shape;
  out.format.bits = spec.bits();
  out.format.group_rows = group_rows;
  out.format.validate(shape);
  TESSERA_ASSERT(static_cast<std::int64_t>(weights.size()) == shape.numel());
  GroupedFit start;
  if (warm) {
    start.groups = out.format.groups(shape);
    start.k = warm->k;
    start.entries = warm->entries;
    start.indices = warm->indices;
  }
  GroupedFit fit = fit_row_groups(spec, weights, CodebookFormat::rows(shape),
                                  group_rows ? group_rows : CodebookFormat::rows(shape), importance,
                                  warm ? &start : nullptr, {.exact = true, .name = name});
  out.k = fit.k;
  out.entries = std::move(fit.entries);
  out.indices = std::move(fit.indices);
  out.error = fit.error;
  out.changed = fit.changed;
  return out;
}

void CodebookTensor::decode(std::span<float> out) const {
  const std::int64_t rows = format.group_rows ? format.group_rows : CodebookFormat::rows(shape);
  const std::int64_t size = rows * CodebookFormat::row_length(shape);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t group = static_cast<std::int64_t>(i) / size;
    out[i] = entries[static_cast<std::size_t>(group * k + indices[i])];
  }
}

void CodebookTensor::store(State& state, const std::string& name) const {
  Tensor packed(DType::u8, format.indices_shape(shape));
  pack_indices(indices.data(), static_cast<std::int64_t>(indices.size()), format.bits,
               packed.span<std::uint8_t>().data());
  state.set(name + ".indices", packed);
  state.set(name + ".entries", Tensor::from(entries, format.entries_shape(shape, k)));
}

double CodebookTensor::entropy_bits() const {
  return index_entropy(indices);
}

}  // namespace tessera::quant
