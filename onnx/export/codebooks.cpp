// Codebook weights in ONNX. Entries that are whole steps from a zero point become DequantizeLinear
// of 2, 4 or 8 bits, which runtimes keep as they are; any others a Gather from the entries by the
// packed bytes, which is small in the file only.
#include <algorithm>

#include "core/error.h"
#include "onnx/export/exporter.h"
#include "ops/codebook/codebook.h"

namespace tessera::onnx {

ElementType unsigned_of(int bits) {
  return bits == 2 ? ElementType::u2 : bits == 4 ? ElementType::u4 : ElementType::u8;
}

namespace {

// Elements of `bits`, the first in the lowest ones.
class BitWriter {
 public:
  explicit BitWriter(std::int64_t count, int bits)
      : bits_(bits), bytes_(static_cast<std::size_t>((count * bits + 7) / 8 + 1), '\0') {}
  void put(std::int64_t i, std::uint32_t value) {
    put_index(reinterpret_cast<std::uint8_t*>(bytes_.data()), bits_, i, value);
  }
  std::string_view bytes() const { return std::string_view(bytes_).substr(0, bytes_.size() - 1); }

 private:
  int bits_;
  std::string bytes_;
};

std::int64_t source_row(const Ints& rows, std::int64_t r) {
  return rows.empty() ? r : rows[static_cast<std::size_t>(r)];
}

}  // namespace

std::string Exporter::weight(Value value, bool transposed, const Ints& rows, const Ints& as) {
  const Node* node = codebook(value);
  const Shape shape = value.shape();
  const std::int64_t n = shape[0].value(), length = shape.numel() / std::max<std::int64_t>(n, 1);
  std::string base = node ? node->input(0).node->name() : value.node->name();
  if (node && base.ends_with(".indices")) base.resize(base.size() - 8);
  const std::string key =
      cat(base, transposed ? "^T" : "", rows.empty() ? "" : "/rows", Shape::of(as).text());
  if (const auto found = weights_.find(key); found != weights_.end()) return found->second;
  const Ints plain = as.empty() ? shape.values() : as;
  const Ints written = transposed ? Ints{length, n} : plain;
  check(!transposed || shape.rank() == 2, "a weight ", shape, " transposed");

  if (node == nullptr || options_.dense) {
    std::vector<float> data(static_cast<std::size_t>(n * length));
    Tensor dense;
    if (node == nullptr) {
      dense = tensor(value);
    } else {
      dense = decoded(*node);
    }
    const auto from = dense.span<float>();
    for (std::int64_t r = 0; r < n; ++r) {
      for (std::int64_t c = 0; c < length; ++c) {
        data[static_cast<std::size_t>(transposed ? c * n + r : r * length + c)] =
            from[static_cast<std::size_t>(source_row(rows, r) * length + c)];
      }
    }
    const std::string name = writer_.unique(base);
    writer_.reals(name, written, data);
    if (node != nullptr)
      result_.weights.push_back({base, shape.text(), "f32", std::ssize(data) * 4});
    return weights_[key] = name;
  }

  const CodebookFormat& format = *node->types()[0].encoding.codebook_format();
  const Tensor& indices = tensor(node->input(0));
  Affine affine = affine_of(tensor(node->input(1)));
  if (const int bits = fitted_bits(format, options_); affine.bits == 0 && bits > 0)
    affine = fitted(*node, bits);
  const std::string name = writer_.unique(base);
  const std::string out = affine.bits > 0 ? write_affine(name, indices, affine, format, *node,
                                                         transposed, rows, written)
                                          : write_looked_up(name, *node, transposed, rows, written);
  return weights_[key] = out;
}

Tensor Exporter::decoded(const Node& node) const {
  const Shape& shape = node.types()[0].shape;
  const CodebookFormat& format = *node.types()[0].encoding.codebook_format();
  const Tensor& entries = tensor(node.input(1));
  const Tensor reals = entries.dtype() == DType::f32 ? entries : entries.to(DType::f32);
  const CodebookLayout layout(format, shape, entries.shape()[1].value());
  const auto* indices = reinterpret_cast<const std::uint8_t*>(tensor(node.input(0)).data());
  Tensor out(DType::f32, shape);
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    float value =
        reals.span<float>()[static_cast<std::size_t>(layout.entry(i, layout.index(indices, i)))];
    if (layout.has_scale())
      value *= tensor(node.input(2)).span<float>()[static_cast<std::size_t>(layout.scale(i))];
    out.span<float>()[static_cast<std::size_t>(i)] = value;
  }
  return out;
}

// By how often each number of its entries occurs, the squares of the scales before it included.
Affine Exporter::fitted(const Node& node, int bits) const {
  const Shape& shape = node.types()[0].shape;
  const CodebookFormat& format = *node.types()[0].encoding.codebook_format();
  const Tensor& entries = tensor(node.input(1));
  const CodebookLayout layout(format, shape, entries.shape()[1].value());
  const auto* plane = reinterpret_cast<const std::uint8_t*>(tensor(node.input(0)).data());
  std::vector<double> counts(static_cast<std::size_t>(entries.numel()));
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    const double scale =
        layout.has_scale()
            ? tensor(node.input(2)).span<float>()[static_cast<std::size_t>(layout.scale(i))]
            : 1;
    counts[static_cast<std::size_t>(layout.entry(i, layout.index(plane, i)))] += scale * scale;
  }
  return nearest_affine(entries, counts, bits);
}

std::string Exporter::write_affine(const std::string& name, const Tensor& indices,
                                   const Affine& affine, const CodebookFormat& format,
                                   const Node& node, bool transposed, const Ints& rows,
                                   const Ints& written) {
  const Shape& shape = node.types()[0].shape;
  const std::int64_t n = shape[0].value(), length = shape.numel() / n;
  const std::int64_t k = tensor(node.input(1)).shape()[1].value(), d = format.vector_len;
  const auto* plane = reinterpret_cast<const std::uint8_t*>(indices.data());
  const Tensor* scale = node.input(2) ? &tensor(node.input(2)) : nullptr;
  const auto group = [&](std::int64_t row) {
    return format.group_rows > 0 ? row / format.group_rows : 0;
  };
  // ONNX Runtime 1.30 multiplies by matrices of 2 bits wrongly where a row is no whole bytes.
  const bool whole_rows = written.size() != 2 || written.back() % 4 == 0;
  const int bits = affine.bits == 2 && !whole_rows ? 4 : affine.bits;
  BitWriter levels(n * length, bits);
  for (std::int64_t r = 0; r < n; ++r) {
    const std::int64_t own = source_row(rows, r);
    for (std::int64_t c = 0; c < length; ++c) {
      const std::int64_t index = index_at(plane, format.bits, (own * length + c) / d);
      const int level =
          affine.level[static_cast<std::size_t>((group(own) * k + index) * d + c % d)];
      levels.put(transposed ? c * n + r : r * length + c, static_cast<std::uint32_t>(level));
    }
  }
  const std::int64_t blocks = scale ? format.blocks_per_row(shape) : 1;
  const bool one = !scale && affine.step.size() == 1;
  const bool by_block = scale && blocks > 1;
  // Of a block, a row or all; blocks of a filter are blocks along its last axis only where they
  // divide it, so it is written as a matrix then.
  std::vector<float> scales;
  std::vector<int> zero_points;
  const auto put_scale = [&](std::int64_t row, std::int64_t block) {
    const auto of = static_cast<std::size_t>(group(row));
    const float step = affine.step[of];
    scales.push_back(
        scale ? step * scale->span<float>()[static_cast<std::size_t>(row * blocks + block)] : step);
    zero_points.push_back(affine.zero[of]);
  };
  if (one) {
    put_scale(0, 0);
  } else if (transposed) {
    for (std::int64_t b = 0; b < blocks; ++b)
      for (std::int64_t r = 0; r < n; ++r) put_scale(source_row(rows, r), b);
  } else {
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t b = 0; b < blocks; ++b) put_scale(source_row(rows, r), b);
  }
  const Ints matrix = transposed ? Ints{length, n} : Ints{n, length};
  const bool as_matrix = by_block && written != matrix;
  Ints scale_shape;
  AttributeWriter attributes;
  if (by_block) {
    scale_shape = transposed ? Ints{blocks, n} : Ints{n, blocks};
    attributes.integer("axis", transposed ? 0 : 1);
    attributes.integer("block_size", format.block_length(shape));
  } else if (!one) {
    scale_shape = {n};
    std::int64_t axis = transposed ? 1 : 0;
    if (!transposed && written[0] != n) axis = 1;  // [1, rows, ...]
    attributes.integer("axis", axis);
  }
  const ElementType type = unsigned_of(bits);
  writer_.tensor(name, type, as_matrix ? matrix : written, levels.bytes());
  const std::string scale_name = writer_.unique(name + ".scale");
  writer_.reals(scale_name, scale_shape, scales);
  const std::string zero_name = writer_.unique(name + ".zero");
  BitWriter zeros(std::ssize(scales), bits);
  for (std::int64_t i = 0; i < std::ssize(scales); ++i)
    zeros.put(i, static_cast<std::uint32_t>(zero_points[static_cast<std::size_t>(i)]));
  writer_.tensor(zero_name, type, scale_shape, zeros.bytes());
  std::string out = writer_.node("DequantizeLinear", {name, scale_name, zero_name}, attributes);
  if (as_matrix) out = writer_.node("Reshape", {out, writer_.ints(written)});
  result_.weights.push_back(
      {name, shape.text(),
       cat(onnx::name(type), by_block ? cat(" in blocks of ", format.block_length(shape))
                             : one    ? ""
                                      : ", a scale per row"),
       static_cast<std::int64_t>(levels.bytes().size() + zeros.bytes().size() + scales.size() * 4),
       affine.error});
  return out;
}

// Entries [groups, k, d] by indices of 1, 2, 4 or 8 bits. The packed bytes choose from a table of
// all bytes which indices are in each.
std::string Exporter::write_looked_up(const std::string& name, const Node& node, bool transposed,
                                      const Ints& rows, const Ints& written) {
  const Shape& shape = node.types()[0].shape;
  const CodebookFormat& format = *node.types()[0].encoding.codebook_format();
  const std::int64_t n = shape[0].value(), length = shape.numel() / n, d = format.vector_len;
  const Tensor& entries = tensor(node.input(1));
  const std::int64_t k = entries.shape()[1].value(), groups = entries.shape()[0].value();
  const Tensor* scale = node.input(2) ? &tensor(node.input(2)) : nullptr;
  const auto* plane = reinterpret_cast<const std::uint8_t*>(tensor(node.input(0)).data());
  const int bits = format.bits <= 2 ? format.bits : format.bits <= 4 ? 4 : 8;
  const std::int64_t count = n * length / d, per = 8 / bits;
  BitWriter packed(count, bits);
  const std::int64_t row_indices = length / d;
  for (std::int64_t r = 0; r < n; ++r) {
    for (std::int64_t c = 0; c < row_indices; ++c)
      packed.put(r * row_indices + c,
                 static_cast<std::uint32_t>(
                     index_at(plane, format.bits, source_row(rows, r) * row_indices + c)));
  }
  const std::int64_t bytes = std::ssize(packed.bytes());
  writer_.tensor(name, ElementType::u8, {bytes}, packed.bytes());
  const std::string wide = writer_.node(
      "Cast", {name}, AttributeWriter().integer("to", static_cast<int>(ElementType::s32)));
  std::string index = wide;  // int32 [count]
  if (per > 1) {
    std::string& table = byte_tables_[bits];
    if (table.empty()) {
      std::vector<std::int32_t> of;
      for (int byte = 0; byte < 256; ++byte)
        for (std::int64_t i = 0; i < per; ++i) of.push_back(byte >> (i * bits) & ((1 << bits) - 1));
      table = writer_.unique(cat("indices_of_bytes_", bits));
      writer_.tensor(table, ElementType::s32, {256, per},
                     {reinterpret_cast<const char*>(of.data()), of.size() * 4});
    }
    index = writer_.node("Gather", {table, wide});
    index = writer_.node("Reshape", {index, writer_.ints({bytes * per})});
    if (bytes * per != count) {
      index = writer_.node("Slice", {index, writer_.ints({0}), writer_.ints({count})});
    }
  }
  if (groups > 1) {  // entries of all groups one after another
    std::vector<std::int32_t> offset;
    for (std::int64_t r = 0; r < n; ++r)
      offset.push_back(static_cast<std::int32_t>(source_row(rows, r) / format.group_rows * k));
    const std::string offsets = writer_.unique(name + ".groups");
    writer_.tensor(offsets, ElementType::s32, {n, 1},
                   {reinterpret_cast<const char*>(offset.data()), offset.size() * 4});
    index = writer_.node("Reshape", {index, writer_.ints({n, row_indices})});
    index = writer_.node("Add", {index, offsets});
    index = writer_.node("Reshape", {index, writer_.ints({count})});
  }
  const Tensor reals = entries.dtype() == DType::f32 ? entries : entries.to(DType::f32);
  const std::string table = writer_.unique(name + ".entries");
  writer_.reals(table, d > 1 ? Ints{groups * k, d} : Ints{groups * k}, reals.span<float>());
  std::string out = writer_.node("Gather", {table, index});
  std::int64_t scale_bytes = 0;
  if (scale) {
    // Per block; a last block that is short is filled up, and cut off again.
    const std::int64_t blocks = format.blocks_per_row(shape), block = format.block_length(shape);
    std::vector<float> values;
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t b = 0; b < blocks; ++b)
        values.push_back(
            scale->span<float>()[static_cast<std::size_t>(source_row(rows, r) * blocks + b)]);
    const std::string scales = writer_.unique(name + ".scale");
    writer_.reals(scales, {n, blocks, 1}, values);
    scale_bytes = std::ssize(values) * 4;
    std::string spread = writer_.node("Expand", {scales, writer_.ints({n, blocks, block})});
    spread = writer_.node("Reshape", {spread, writer_.ints({n, blocks * block})});
    if (blocks * block != length) {
      spread = writer_.node("Slice",
                            {spread, writer_.ints({0}), writer_.ints({length}), writer_.ints({1})});
    }
    out = writer_.node("Reshape", {out, writer_.ints({n, length})});
    out = writer_.node("Mul", {out, spread});
  }
  out = writer_.node("Reshape", {out, writer_.ints(transposed ? Ints{n, length} : written)});
  if (transposed) out = writer_.node("Transpose", {out}, AttributeWriter().list("perm", {1, 0}));
  ++result_.looked_up;
  result_.weights.push_back({name, shape.text(), cat("looked up by Gather, ", bits, " bits"),
                             bytes + scale_bytes + reals.numel() * 4});
  return out;
}

}  // namespace tessera::onnx
