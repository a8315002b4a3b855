// Models on disk: NAME.json (graph, settings, SHA-256 of the weights) and, beside it,
// NAME-<sha12>.safetensors (every param and state). docs/format.md describes both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "core/model.h"

namespace tessera {

struct SaveOptions {
  // Planes of indices are entropy-coded where that makes them smaller. What load gives is the same.
  bool entropy_coded = false;
};

// Bytes in the file of the planes that are stored coded, by the plane's name.
using CodedPlanes = std::map<std::string, std::int64_t>;

struct SavedModel {
  std::filesystem::path json, weights;
  std::int64_t json_bytes = 0, weights_bytes = 0;
  CodedPlanes coded = {};
};

// Writes the live part of the graph, users' ops as their decompositions, and the params and states
// it reads. `path` is NAME.json or NAME. The weights are written first, so the rename of it is the
// moment the new model exists; then older weights files of the same NAME are removed. The same
// model under the same NAME gives the same bytes. Throws Error when the state lacks a tensor or has
// it with another type, when weights are not sound (see check_weights), or when a file cannot be
// written (the old model stays whole).
SavedModel save(const Model& model, const std::filesystem::path& path,
                const SaveOptions& options = {});

// Reads a model and trusts neither file: see parse_graph_document and read_safetensors; the
// weights' SHA-256 must be the one in the JSON, their names, dtypes and shapes those of the graph's
// params and states, no more and no less, and the weights sound. A plane of indices may be stored
// coded, which is decoded here to exactly the packed plane. Throws Error naming file and tensor.
Model load(const std::filesystem::path& path, const OpSet& ops);
// The same from the contents of the two files; `name` is the model's name for messages.
Model load_from_memory(std::string_view json, std::string_view weights, const std::string& name,
                       const OpSet& ops);

// What a model's files hold coded, from their headers alone; empty for a plain file.
CodedPlanes coded_planes(const std::filesystem::path& path, const OpSet& ops);

// Throws Error "WHERE: tensor 'NAME': ..." when an f32 or bf16 tensor holds a NaN, when an index
// of a codebook is not below the number of its entries, or when planes mean nothing to the op that
// reads them (positions of a sparse correction).
void check_weights(const Graph& graph, const std::map<std::string, Tensor>& tensors,
                   const std::string& where);

}  // namespace tessera
