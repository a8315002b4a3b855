#include "quant/pack/harden.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <tuple>

#include "core/text.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/decode.h"
#include "ops/sparse/sparse.h"

namespace tessera::quant {

Model harden(const Graph& inference, const State& state, const Codebooks& codebooks) {
  std::size_t used = 0;
  State planes;
  for (const auto& [name, codebook] : codebooks) codebook.store(planes, name);
  Graph graph = transform(inference, [&](Graph& to, const Node& node, std::vector<Value> inputs) {
    const auto found = &node.op() == &kParam ? codebooks.find(node.name()) : codebooks.end();
    if (found == codebooks.end()) return copy_node(to, node, std::move(inputs));
    ++used;
    const CodebookTensor& c = found->second;
    check(node.types()[0].shape == c.shape, "'", node.name(), "' is ", node.types()[0].text(),
          ", its codebook was fitted for ", c.shape.text());
    const auto plane = [&](const std::string& name) {
      const Tensor& tensor = planes.get(name);
      return to.param(name, {tensor.dtype(), tensor.shape(), {}});
    };
    const Value indices = plane(c.indices_name(node.name())),
                entries = plane(c.entries_name(node.name()));
    const Value scale = c.scales.empty() ? Value() : plane(c.scale_name(node.name()));
    Value weight = ops::codebook(indices, entries, scale, c.format, c.shape);
    if (!c.sparse.empty()) {
      const Value positions = plane(c.positions_name(node.name())),
                  values = plane(c.values_name(node.name()));
      weight = weight + ops::sparse(positions, values, c.shape);
    }
    return std::vector<Value>{weight};
  });
  check(used == codebooks.size(), "a codebook was given for a parameter the graph does not have");
  Model model{std::move(graph), std::move(planes), {}};
  for (const Node* node : model.graph.states()) {
    if (!model.state.has(node->name()))
      model.state.set(node->name(), state.get(node->name()).clone());
  }
  return model;
}

namespace {

// index_entropy of a packed plane, unpacked in pieces: a large one whole would be eight times as
// large as in the file.
double plane_entropy(const Tensor& packed, int bits, std::int64_t count) {
  constexpr std::int64_t kPiece = 1 << 16;
  std::array<std::int64_t, 256> counts{};
  std::vector<std::uint8_t> piece(static_cast<std::size_t>(std::min(count, kPiece)));
  for (std::int64_t at = 0; at < count; at += kPiece) {
    const std::int64_t n = std::min(kPiece, count - at);
    unpack_indices(packed.span<std::uint8_t>().data(), at, n, bits, piece.data());
    for (std::int64_t i = 0; i < n; ++i) ++counts[piece[static_cast<std::size_t>(i)]];
  }
  return count_entropy(counts);
}

}  // namespace

SizeReport size_report(const Model& model, const CodedPlanes& coded) {
  SizeReport report;
  std::map<std::string, bool> counted;
  std::map<const Node*, const Node*> corrections;  // codebook -> sparse
  // Of planes as they are read: any number of weights may share one.
  std::map<std::tuple<std::string, int, std::int64_t>, double> entropies;
  for (const Node& node : model.graph.nodes()) {
    if (const CorrectedWeight w = corrected_weight(node)) corrections[w.codebook] = w.sparse;
  }
  for (const Node& node : model.graph.nodes()) {
    if (&node.op() != &kCodebook) continue;
    const TensorType& type = node.types()[0];
    const CodebookFormat& format = *type.encoding.codebook_format();
    TensorReport item;
    const std::string& indices = node.input(0).node->name();
    item.name = CodebookTensor::weight_name(indices);
    item.shape = type.shape;
    item.encoding = type.encoding.text();
    item.weights = type.shape.numel();
    const Tensor& packed = model.state.get(indices);
    // Planes that several weights share are counted once.
    const auto bytes_of = [&](Value plane) {
      const std::string& name = plane.node->name();
      return counted.emplace(name, true).second ? model.state.get(name).bytes() : 0;
    };
    const bool first = !counted.contains(indices);
    item.index_bytes = item.file_index_bytes = bytes_of(node.input(0));
    if (const auto found = coded.find(indices); first && found != coded.end()) {
      item.file_index_bytes = found->second;
    }
    item.codebook_bytes = bytes_of(node.input(1));
    if (node.inputs().size() > 2 && node.input(2)) item.scale_bytes = bytes_of(node.input(2));
    if (const auto found = corrections.find(&node); found != corrections.end()) {
      const Node& sparse = *found->second;
      item.encoding += "+sparse";
      item.sparse_bytes = bytes_of(sparse.input(0)) + bytes_of(sparse.input(1));
      item.sparse_values = sparse.input(1).shape().numel();
    }
    const std::int64_t count = format.index_count(type.shape);
    const auto [entropy, fresh] = entropies.try_emplace({indices, format.bits, count}, 0);
    if (fresh) entropy->second = plane_entropy(packed, format.bits, count);
    item.entropy_bits = entropy->second / format.vector_len;
    report.tensors.push_back(std::move(item));
  }
  for (const Node* node : model.graph.states()) {
    if (counted.contains(node->name())) continue;
    const Tensor& tensor = model.state.get(node->name());
    report.tensors.push_back({node->name(), tensor.shape(), std::string(name(tensor.dtype())),
                              tensor.numel(), 0, 0, 0, 0, tensor.bytes(), 0, 0, 0});
  }
  return report;
}

std::int64_t SizeReport::bytes() const {
  std::int64_t n = 0;
  for (const auto& t : tensors)
    n += t.index_bytes + t.codebook_bytes + t.scale_bytes + t.sparse_bytes + t.dense_bytes;
  return n;
}

std::int64_t SizeReport::dense_bytes() const {
  std::int64_t n = 0;
  for (const auto& t : tensors) n += t.coded() ? t.weights * size_of(DType::f32) : t.dense_bytes;
  return n;
}

std::int64_t SizeReport::weights() const {
  std::int64_t n = 0;
  for (const auto& t : tensors) n += t.coded() ? t.weights : 0;
  return n;
}

double SizeReport::bits_per_weight() const {
  if (weights() == 0) return 32;
  std::int64_t n = 0;
  for (const auto& t : tensors)
    n += t.index_bytes + t.codebook_bytes + t.scale_bytes + t.sparse_bytes;
  return 8.0 * static_cast<double>(n) / static_cast<double>(weights());
}

bool SizeReport::entropy_coded() const {
  return file_index_bytes() != index_bytes();
}

std::int64_t SizeReport::index_bytes() const {
  std::int64_t n = 0;
  for (const auto& t : tensors) n += t.index_bytes;
  return n;
}

std::int64_t SizeReport::file_index_bytes() const {
  std::int64_t n = 0;
  for (const auto& t : tensors) n += t.file_index_bytes;
  return n;
}

std::int64_t SizeReport::file_bytes() const {
  return bytes() - index_bytes() + file_index_bytes();
}

double SizeReport::file_bits_per_weight() const {
  if (weights() == 0) return 32;
  const auto saved = static_cast<double>(index_bytes() - file_index_bytes());
  return bits_per_weight() - 8 * saved / static_cast<double>(weights());
}

double SizeReport::entropy_bits_per_weight() const {
  if (weights() == 0) return 32;
  double bits = 0;
  for (const auto& t : tensors) {
    if (!t.coded()) continue;
    bits += t.entropy_bits * static_cast<double>(t.weights) +
            8 * static_cast<double>(t.codebook_bytes + t.scale_bytes + t.sparse_bytes);
  }
  return bits / static_cast<double>(weights());
}

double SizeReport::ratio() const {
  return static_cast<double>(dense_bytes()) / static_cast<double>(bytes());
}

std::string SizeReport::text() const {
  int name_width = 16, shape_width = 14;
  for (const auto& t : tensors) {
    name_width = std::max(name_width, static_cast<int>(printable(t.name).size()) + 2);
    shape_width = std::max(shape_width, static_cast<int>(t.shape.text().size()) + 2);
  }
  std::ostringstream out;
  const auto row = [&](const auto& name, const auto& shape, const auto& encoding,
                       const auto& indices, const auto& codebook, const auto& scale,
                       const auto& sparse, const auto& dense, const auto& entropy) {
    out << std::left << std::setw(name_width) << name << std::setw(shape_width) << shape
        << std::setw(12) << encoding << std::right << std::setw(10) << indices << std::setw(10)
        << codebook << std::setw(8) << scale << std::setw(10) << sparse << std::setw(10) << dense
        << std::setw(10) << entropy << "\n";
  };
  row("tensor", "shape", "encoding", "indices", "codebook", "scale", "sparse", "dense", "entropy");
  out << std::fixed << std::setprecision(3);
  for (const auto& t : tensors) {
    row(printable(t.name), t.shape.text(), t.encoding, t.index_bytes, t.codebook_bytes,
        t.scale_bytes, t.sparse_bytes, t.dense_bytes, t.entropy_bits);
  }
  out << (entropy_coded() ? "in memory " : "total ") << bytes() << " bytes, ";
  if (weights() > 0) {
    out << std::setprecision(4) << bits_per_weight() << " bits a coded weight ("
        << entropy_bits_per_weight() << " with indices at their entropy), ";
  }
  out << std::setprecision(2) << ratio() << " times smaller than f32 (" << dense_bytes()
      << " bytes)\n";
  if (entropy_coded()) {
    out << "in the file " << file_bytes() << " bytes, indices entropy-coded to "
        << file_index_bytes() << " from " << index_bytes() << "; " << std::setprecision(4)
        << file_bits_per_weight() << " bits a coded weight, " << std::setprecision(2)
        << static_cast<double>(dense_bytes()) / static_cast<double>(file_bytes())
        << " times smaller than f32\n";
  }
  return out.str();
}

}  // namespace tessera::quant
