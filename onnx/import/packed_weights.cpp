#include "onnx/import/packed_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/decode.h"

namespace tessera::onnx {

namespace {

// One for all, one per row, or one for every `block` of a row; none: neither.
std::optional<std::int64_t> scale_block_of(std::span<const float> scale, std::int64_t rows,
                                           std::int64_t block) {
  const auto length = std::ssize(scale) / rows;
  const auto constant = [&](std::int64_t step, std::int64_t row) {
    for (std::int64_t r = 0; r < std::ssize(scale) / row; ++r)
      for (std::int64_t b = 0; b < row; b += step)
        for (std::int64_t i = b; i < std::min(row, b + step); ++i)
          if (scale[static_cast<std::size_t>(r * row + i)] !=
              scale[static_cast<std::size_t>(r * row + b)])
            return false;
    return true;
  };
  if (constant(std::ssize(scale), std::ssize(scale))) return 0;
  if (constant(length, length)) return CodebookFormat::kScalePerRow;
  if (block > 0 && block < length && constant(block, length)) return block;
  return std::nullopt;
}

}  // namespace

std::optional<PackedWeight> packed_weight(const Quantized& q, const Context::Stored& stored) {
  Tensor whole(DType::f32, q.values.shape()), scales(DType::f32, q.values.shape());
  for (std::int64_t i = 0; i < whole.numel(); ++i) {
    const std::int64_t at = q.scale_of(i);
    const auto place = static_cast<std::size_t>(i);
    whole.span<float>()[place] =
        static_cast<float>(element(q.values, i) - (q.zero.defined() ? element(q.zero, at) : 0));
    scales.span<float>()[place] = q.scale.span<float>()[static_cast<std::size_t>(at)];
  }
  whole = stored(whole);
  scales = stored(scales);
  const Shape& shape = whole.shape();
  if (shape.rank() < 2 || shape.numel() == 0) return std::nullopt;
  const auto level = whole.span<float>(), scale = scales.span<float>();
  const Tensor decoded = stored(q.decoded());
  for (std::size_t i = 0; i < level.size(); ++i) {
    if (!std::isfinite(scale[i])) return std::nullopt;
    // What does more than to choose and move numbers is no storage.
    if (level[i] * scale[i] != decoded.span<float>()[i]) return std::nullopt;
  }
  const std::set<float> different(level.begin(), level.end());
  if (different.size() > 256) return std::nullopt;
  const std::int64_t rows = CodebookFormat::rows(shape);
  const auto block = scale_block_of(scale, rows, q.block);
  if (!block) return std::nullopt;

  PackedWeight out{.shape = shape};
  const auto k = static_cast<std::int64_t>(different.size());
  out.format.bits = std::max(1, static_cast<int>(std::bit_width(static_cast<unsigned>(k - 1))));
  out.format.scale_block = *block;
  out.entries = Tensor(DType::f32, out.format.entries_shape(shape, k));
  const std::vector<float> sorted(different.begin(), different.end());
  for (std::size_t i = 0; i < sorted.size(); ++i)
    out.entries.span<float>()[i] = *block == 0 ? sorted[i] * scale[0] : sorted[i];
  std::vector<std::uint8_t> indices(level.size());
  for (std::size_t i = 0; i < level.size(); ++i)
    indices[i] =
        static_cast<std::uint8_t>(std::ranges::lower_bound(sorted, level[i]) - sorted.begin());
  out.indices = Tensor(DType::u8, out.format.indices_shape(shape));
  pack_indices(indices.data(), std::ssize(indices), out.format.bits,
               out.indices.span<std::uint8_t>().data());
  if (*block != 0) {
    out.scale = Tensor(DType::f32, out.format.scale_shape(shape));
    const std::int64_t length = shape.numel() / rows, blocks = out.format.blocks_per_row(shape);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t b = 0; b < blocks; ++b)
        out.scale.span<float>()[static_cast<std::size_t>(r * blocks + b)] =
            scale[static_cast<std::size_t>(r * length + b * out.format.block_length(shape))];
  }
  return out;
}

std::vector<std::string> pack_weights(Model& model,
                                      const std::map<std::string, PackedWeight>& packed) {
  std::set<std::string> dense;
  const auto need = [&](Value v) {
    if (&v.node->op() == &kParam) dense.insert(v.node->name());
  };
  for (const Node& node : model.graph.nodes()) {
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      if (node.inputs()[i] && !node.op().input_def(i).encoded) need(node.inputs()[i]);
    }
  }
  for (const auto& output : model.graph.outputs()) need(output.second);
  const auto taken = [&](const std::string& name) {
    return packed.contains(name) && !dense.contains(name);
  };
  model.graph = transform(model.graph, [&](Graph& to, const Node& node, std::vector<Value> inputs) {
    if (&node.op() != &kParam || !taken(node.name())) return copy_node(to, node, std::move(inputs));
    const PackedWeight& weight = packed.at(node.name());
    const auto plane = [&](const char* suffix, const Tensor& tensor) {
      const std::string name = node.name() + suffix;
      model.state.set(name, tensor);
      return to.param(name, {tensor.dtype(), tensor.shape(), {}});
    };
    const Value indices = plane(".indices", weight.indices);
    const Value entries = plane(".entries", weight.entries);
    const Value scale = weight.scale.defined() ? plane(".scale", weight.scale) : Value();
    return std::vector<Value>{ops::codebook(indices, entries, scale, weight.format, weight.shape)};
  });
  std::vector<std::string> left;
  for (const auto& [name, weight] : packed)
    if (dense.contains(name)) left.push_back(name);
  return left;
}

}  // namespace tessera::onnx
