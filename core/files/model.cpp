#include "core/files/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <tuple>

#include "core/files/atomic_file.h"
#include "core/files/find_weights.h"
#include "core/files/graph_json.h"
#include "core/files/index_planes.h"
#include "core/files/json_io.h"
#include "core/files/safetensors.h"
#include "core/memory_rule.h"
#include "core/op_def.h"

namespace tessera {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kShaDigits = 12;
constexpr int kMaxChecks = 64;  // of one tensor: each may read all of it
constexpr std::string_view kExtension = ".safetensors";

bool is_nan(float value) {
  return std::isnan(value);
}

void check_no_nan(const Tensor& tensor, const std::string& place) {
  std::int64_t at = -1;
  if (tensor.dtype() == DType::f32) {
    const auto values = tensor.span<float>();
    bool any = false;  // one vector pass says whether to look closer
    for (const float value : values) any |= is_nan(value);
    if (!any) return;
    at = std::find_if(values.begin(), values.end(), is_nan) - values.begin();
  } else if (tensor.dtype() == DType::bf16) {
    for (std::int64_t i = 0; i < tensor.numel() && at < 0; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, tensor.data() + 2 * i, 2);
      if ((bits & 0x7fff) > 0x7f80) at = i;
    }
  }
  check(at < 0, place, "element ", at, " is NaN");
}

// Any run of 8 indices is `bits` bytes: they are taken from one 64-bit word.
std::int64_t highest_index(std::span<const std::uint8_t> stream, int bits, std::int64_t count) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  constexpr std::int64_t kRun = 8;
  std::uint64_t most = 0;
  std::int64_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    std::uint64_t word = 0;
    std::memcpy(&word, stream.data() + i / kRun * bits, static_cast<std::size_t>(bits));
    for (int n = 0; n < kRun; ++n) most = std::max(most, word >> (n * bits) & mask);
  }
  for (; i < count; ++i) most = std::max<std::uint64_t>(most, index_at(stream.data(), bits, i));
  return static_cast<std::int64_t>(most);
}

// The highest index of a plane as it is read (by its leaf, bits and count): any number of codebooks
// may share one.
using HighestIndices = std::map<std::tuple<const Node*, int, std::int64_t>, std::int64_t>;

// The params and states behind a graph's codebooks: planes in the order of Encoding::planes.
void check_codebook(const Node& node, const std::map<std::string, Tensor>& tensors,
                    HighestIndices& highest, const std::string& where) {
  const TensorType& type = node.types()[0];
  const CodebookFormat& format = *type.encoding.codebook_format();
  for (const int plane : {0, 1}) {
    const Node& leaf = *node.input(plane).node;
    check(leaf.op().has(kLeaf) && tensors.contains(leaf.name()), where, ": node ", node.id(), " (",
          type.text(), "): its ", plane ? "entries" : "indices", " must be a param or a state");
  }
  const std::string& name = node.input(0).node->name();
  const std::int64_t k = type.encoding.entries();
  if (k >= format.max_entries()) return;
  const auto stream = tensors.at(name).span<std::uint8_t>();
  const std::int64_t count = format.index_count(type.shape);
  const auto [found, fresh] = highest.try_emplace({node.input(0).node, format.bits, count}, 0);
  if (fresh) found->second = highest_index(stream, format.bits, count);
  if (found->second < k) return;
  std::int64_t at = 0;
  while (index_at(stream.data(), format.bits, at) < k) ++at;
  fail(where, ": tensor ", quote(name), ": index ", index_at(stream.data(), format.bits, at),
       " at position ", at, " is not below the number of entries, ", k);
}

// Planes of which a storage op makes a dense value must mean something to it.
void check_planes(const Node& node, const std::map<std::string, Tensor>& tensors,
                  const std::string& where) {
  std::vector<const Tensor*> planes;
  for (const Value v : node.inputs()) {
    const Node& leaf = *v.node;
    check(leaf.op().has(kLeaf) && tensors.contains(leaf.name()), where, ": node ", node.id(), " (",
          node.op().name, "): its planes must be params or states");
    planes.push_back(&tensors.at(leaf.name()));
  }
  try {
    node.op().check_planes(node, planes);
  } catch (const Error& error) {
    fail(where, ": tensor ", quote(node.input(0).node->name()), ": ", error.what());
  }
}

// Of older saves of the same NAME.
bool is_weights_of(const std::string& file, const std::string& name) {
  if (file.size() != name.size() + 1 + kShaDigits + kExtension.size()) return false;
  if (!file.starts_with(name + "-") || !file.ends_with(kExtension)) return false;
  const std::string sha = file.substr(name.size() + 1, kShaDigits);
  return sha.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void remove_old_weights(const fs::path& folder, const std::string& name, const std::string& keep) {
  // The new model is complete: what cannot be removed is only a leftover.
  std::error_code ignored;
  std::vector<fs::path> old;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    const std::string file = it->path().filename().string();
    if (file != keep && is_weights_of(file, name) && it->is_regular_file(ignored)) {
      old.push_back(it->path());
    }
  }
  for (const fs::path& path : old) fs::remove(path, ignored);
}

std::string list_text(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < 4; ++i) out += (i ? ", " : "") + quote(names[i]);
  return names.size() > 4 ? cat(out, " and ", names.size() - 4, " more") : out;
}

// Names, dtypes and shapes, from the header alone: before anything large is read. Returns the
// planes that are coded.
CodedPlanes check_header(const Graph& graph, const WeightsFile& file,
                         const SafetensorsHeader& header, const std::string& weights,
                         const std::string& json) {
  SafetensorsEntries entries;
  for (const auto& entry : header.entries) entries[entry.name] = &entry;
  const CodedPlanes coded =
      file.coding.empty() ? CodedPlanes() : take_coded(graph, entries, weights);
  std::vector<std::string> missing;
  for (const Node* node : graph.states()) {
    if (coded.contains(node->name())) continue;
    const auto found = entries.find(node->name());
    if (found == entries.end()) {
      missing.push_back(node->name());
      continue;
    }
    const TensorType stored{found->second->dtype, Shape::of(found->second->shape), {}};
    check(
        stored == node->types()[0] && found->second->stored_dtype == info(stored.dtype).safetensors,
        weights, ": tensor ", quote(node->name()), " is ", found->second->stored_dtype,
        stored.shape, ", ", json, " says ", node->types()[0]);
    entries.erase(found);
  }
  check(missing.empty(), weights, ": has no tensor ", list_text(missing), ", which ", json,
        " names");
  std::vector<std::string> extra;
  for (const auto& entry : entries) extra.push_back(entry.first);
  check(extra.empty(), weights, ": tensor ", list_text(extra), " is not in ", json);
  return coded;
}

struct OpenModel {
  GraphDocument document;
  fs::path weights;
  std::unique_ptr<InputFile> file;  // the weights, read up to the end of their header
  CodedPlanes coded;
};

// The file's bytes, the planes as stored, and those that they are decoded to.
void require_decoding_memory(const Graph& graph, const CodedPlanes& coded, std::int64_t stored,
                             const std::string& weights) {
  std::int64_t bytes = 2 * stored;
  for (const auto& [plane, coded_bytes] : coded)
    bytes += graph.find_leaf(plane)->types()[0].shape.numel();
  require_memory(bytes, stored, weights + ": decoding its planes takes");
}

// Everything but the tensors.
OpenModel open_model(const fs::path& path, const OpSet& ops) {
  const std::string json = path.string();
  OpenModel out{read_graph_document(path, ops), {}, {}, {}};
  check(out.document.weights.has_value(), json, ": field 'weights' is missing");
  out.weights = find_weights(path, out.document.weights->name);
  out.file = std::make_unique<InputFile>(out.weights);
  const std::string weights = out.weights.string();
  out.coded = check_header(out.document.graph, *out.document.weights,
                           read_safetensors_header(*out.file, weights), weights, json);
  require_decoding_memory(out.document.graph, out.coded, out.file->size(), weights);
  return out;
}

// Of a document whose weights' header was checked, and the bytes of the weights.
Model model_of(GraphDocument document, std::string_view bytes, const CodedPlanes& coded,
               const std::string& weights, const std::string& json) {
  Safetensors read = parse_safetensors(bytes, weights);
  check(read.sha256 == document.weights->sha256, weights, ": its SHA-256 is ", read.sha256, ", ",
        json, " says ", document.weights->sha256, " (damaged, half-written, or of another model)");
  if (!coded.empty()) decode_planes(document.graph, read.tensors, weights);
  check_weights(document.graph, read.tensors, weights);
  Model model{
      std::move(document.graph), {}, std::move(document.settings), std::move(document.attached)};
  for (auto& [name, tensor] : read.tensors) model.state.set(name, std::move(tensor));
  return model;
}

}  // namespace

fs::path find_weights(const fs::path& json, const std::string& name) {
  const fs::path weights = follow_links(json).parent_path() / name;
  if (file_exists(weights)) return weights;
  const fs::path beside = json.parent_path() / name;
  check(beside != weights && file_exists(beside), json.string(), ": its weights file ",
        weights.string(), " is missing; the two files travel together");
  return beside;
}

void check_weights(const Graph& graph, const std::map<std::string, Tensor>& tensors,
                   const std::string& where) {
  for (const auto& [name, tensor] : tensors) {
    check_no_nan(tensor, cat(where, ": tensor ", quote(name), ": "));
  }
  HighestIndices highest;
  std::map<const Node*, int> checks;
  for (const Node& node : graph.nodes()) {
    if (binds_codebook(node)) check_codebook(node, tensors, highest, where);
    if (node.op().check_planes == nullptr) continue;
    check(++checks[node.input(0).node] <= kMaxChecks, where, ": tensor ",
          quote(node.input(0).node->name()), " is read by more than ", kMaxChecks, " nodes");
    check_planes(node, tensors, where);
  }
}

namespace {

// The live part of a graph in ops that every program has, as far as users' ops say what they are
// made of; the others are written by name, for programs that register them.
Graph in_built_in_ops(const Graph& graph, const std::string& where) {
  constexpr int kMostLevels = 32;
  Graph out = clone(graph);
  for (int level = 0; level < kMostLevels; ++level) {
    bool found = false;
    Graph next = transform(out, [&](Graph& to, const Node& node, std::vector<Value> inputs) {
      std::vector<Value> copy = copy_node(to, node, inputs);
      if (graph.ops().is_built_in(node.op()) || node.op().decompose == nullptr) return copy;
      found = true;
      return node.op().decompose(*copy[0].node, inputs);
    });
    if (!found) return out;
    out = clone(next);
  }
  fail(where, ": an op of the user's own decomposes into itself");
}

}  // namespace

SavedModel save(const Model& model, const fs::path& path, const SaveOptions& options) {
  SavedModel out;
  out.json = path;
  if (out.json.extension() != ".json") out.json += ".json";
  // A link is followed once, here, so that both files come to lie in one folder.
  out.json = follow_links(out.json);
  const std::string name = out.json.stem().string();
  check(!name.empty() && name.front() != '.', out.json.string(), ": a model needs a name");
  check(!file_exists(out.json) || fs::is_regular_file(out.json), "cannot save ", out.json.string(),
        ": expected a regular file, got a folder, a device or a pipe");
  const fs::path folder = out.json.has_parent_path() ? out.json.parent_path() : fs::path(".");

  const Graph graph = in_built_in_ops(model.graph, "cannot save " + out.json.string());
  TensorMap tensors;
  for (const Node* node : graph.states()) {
    check(model.state.has(node->name()), "cannot save ", out.json.string(), ": the state has no ",
          quote(node->name()));
    const Tensor& tensor = model.state.get(node->name());
    check(tensor.dtype() == node->types()[0].dtype && tensor.shape() == node->types()[0].shape,
          "cannot save ", out.json.string(), ": ", quote(node->name()), " is ", tensor.text_type(),
          ", the graph says ", node->types()[0]);
    tensors[node->name()] = tensor;
  }
  check_weights(graph, tensors, "cannot save " + out.json.string());

  if (options.entropy_coded) out.coded = encode_planes(graph, tensors);
  const std::string coding(out.coded.empty() ? "" : kRansCoding);

  const SafetensorsImage image = make_safetensors(tensors);
  const std::string sha = image.sha256();
  const std::string file = cat(name, '-', sha.substr(0, kShaDigits), kExtension);
  const std::string json =
      graph_to_json(graph, model.settings, WeightsFile{file, sha, coding}, model.attached);
  out.weights = folder / file;
  out.json_bytes = static_cast<std::int64_t>(json.size());
  out.weights_bytes = image.bytes();
  // Another process that saves this model here may not take the new weights for old ones.
  const FolderLock lock(folder);
  const bool was_there = file_exists(out.weights);
  image.write(out.weights);
  try {
    write_file(out.json, json);
  } catch (...) {
    std::error_code ignored;
    if (!was_there) fs::remove(out.weights, ignored);
    throw;
  }
  remove_old_weights(folder, name, file);
  return out;
}

Model load(const fs::path& path, const OpSet& ops) {
  check(path.extension() != ".safetensors", path.string(),
        ": holds weights alone; expected the model's .json, which names them");
  OpenModel open = open_model(path, ops);
  return model_of(std::move(open.document), open.file->all(), open.coded, open.weights.string(),
                  path.string());
}

Model load_from_memory(std::string_view json, std::string_view weights, const std::string& name,
                       const OpSet& ops) {
  const std::string weights_name = "weights of " + name;
  GraphDocument document = parse_graph_document(ops, json, name);
  check(document.weights.has_value(), name, ": field 'weights' is missing");
  const CodedPlanes coded =
      check_header(document.graph, *document.weights,
                   read_safetensors_header(weights, weights_name), weights_name, name);
  require_decoding_memory(document.graph, coded, std::ssize(weights), weights_name);
  return model_of(std::move(document), weights, coded, weights_name, name);
}

CodedPlanes coded_planes(const fs::path& path, const OpSet& ops) {
  return open_model(path, ops).coded;
}

}  // namespace tessera
