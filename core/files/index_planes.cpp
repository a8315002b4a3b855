#include "core/files/index_planes.h"

#include <set>
#include <utility>

#include "core/files/json_io.h"
#include "core/files/rans.h"
#include "core/op_def.h"
#include "core/parallel.h"

namespace tessera {

namespace {

constexpr std::string_view kCodedSuffix = ".rans";  // behind the name of a plane

// A stored plane of indices, by the first codebook that reads it.
struct IndexPlane {
  const Node* leaf;
  int bits;
  std::int64_t count;
  std::string coded_name;
};

// In the order of the graph. Planes whose coded name is that of another tensor stay plain.
std::vector<IndexPlane> index_planes(const Graph& graph) {
  std::set<const Node*> seen;
  std::vector<IndexPlane> out;
  for (const Node& node : graph.nodes()) {
    if (!binds_codebook(node)) continue;
    const Node& leaf = *node.input(0).node;
    const TensorType& type = node.types()[0];
    const CodebookFormat& format = *type.encoding.codebook_format();
    std::string coded = cat(leaf.name(), kCodedSuffix);
    const bool stored = &leaf.op() == &kParam || &leaf.op() == &kState;
    if (!stored || graph.find_leaf(coded) != nullptr) continue;
    if (!seen.insert(&leaf).second) continue;
    out.push_back({&leaf, format.bits, format.index_count(type.shape), std::move(coded)});
  }
  return out;
}

}  // namespace

bool binds_codebook(const Node& node) {
  return node.op().has(kStorage | kView) && !node.types().empty() &&
         node.types()[0].encoding.is_codebook();
}

CodedPlanes encode_planes(const Graph& graph, TensorMap& tensors) {
  const std::vector<IndexPlane> planes = index_planes(graph);
  std::vector<Tensor> coded(planes.size());
  parallel_for(std::ssize(planes), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const IndexPlane& plane = planes[i];
      const auto packed = std::as_const(tensors).at(plane.leaf->name()).span<std::uint8_t>();
      const auto bytes = rans_encode(packed, plane.bits, plane.count);
      if (bytes && bytes->size() + kCodedSuffix.size() < packed.size()) {
        coded[i] = Tensor::from(*bytes, {std::ssize(*bytes)});
      }
    }
  });
  CodedPlanes out;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    if (!coded[i].defined()) continue;
    out[planes[i].leaf->name()] = coded[i].bytes();
    tensors.erase(planes[i].leaf->name());
    tensors[planes[i].coded_name] = std::move(coded[i]);
  }
  return out;
}

void decode_planes(const Graph& graph, TensorMap& tensors, const std::string& where) {
  std::vector<IndexPlane> planes = index_planes(graph);
  std::erase_if(planes, [&](const IndexPlane& p) { return !tensors.contains(p.coded_name); });
  std::vector<Tensor> packed;
  for (const IndexPlane& plane : planes) {
    packed.emplace_back(DType::u8, plane.leaf->types()[0].shape);
  }
  parallel_for(std::ssize(planes), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const IndexPlane& plane = planes[i];
      rans_decode(std::as_const(tensors).at(plane.coded_name).span<std::uint8_t>(), plane.bits,
                  plane.count, packed[i].span<std::uint8_t>(),
                  cat(where, ": tensor ", quote(plane.coded_name), ": "));
    }
  });
  for (std::size_t i = 0; i < planes.size(); ++i) {
    tensors.erase(planes[i].coded_name);
    tensors[planes[i].leaf->name()] = std::move(packed[i]);
  }
}

CodedPlanes take_coded(const Graph& graph, SafetensorsEntries& entries,
                       const std::string& weights) {
  CodedPlanes out;
  for (const IndexPlane& plane : index_planes(graph)) {
    const auto found = entries.find(plane.coded_name);
    if (found == entries.end()) continue;
    const SafetensorsEntry& entry = *found->second;
    const std::string place = cat(weights, ": tensor ", quote(entry.name), ": ");
    check(!entries.contains(plane.leaf->name()), place, quote(plane.leaf->name()),
          " is there as well; expected one of the two");
    check(entry.stored_dtype == "U8" && entry.shape.size() == 1, place,
          "expected U8 of rank 1, got ", entry.stored_dtype, Shape::of(entry.shape));
    const std::int64_t bytes = plane.leaf->types()[0].shape.numel();
    check(bytes / kMaxRansExpansion <= entry.bytes, place, "expected at least ",
          bytes / kMaxRansExpansion, " bytes for a plane of ", bytes, ", got ", entry.bytes);
    out[plane.leaf->name()] = entry.bytes;
    entries.erase(found);
  }
  return out;
}

}  // namespace tessera
