// Planes of indices in a weights file: packed under their own name, or entropy-coded under
// NAME.rans. Private to the library.
#pragma once

#include <map>
#include <string>

#include "core/files/model.h"
#include "core/files/safetensors.h"

namespace tessera {

using SafetensorsEntries = std::map<std::string, const SafetensorsEntry*>;

bool binds_codebook(const Node& node);

// Replaces planes by their coded form where that is smaller, its longer name included.
CodedPlanes encode_planes(const Graph& graph, TensorMap& tensors);

// Takes the planes that are there in coded form out of a file's `entries`. A coded plane must be
// large enough for what it is to become: before memory is allocated for that. Throws Error
// "WEIGHTS: tensor 'NAME': ...".
CodedPlanes take_coded(const Graph& graph, SafetensorsEntries& entries, const std::string& weights);

// The inverse of encode_planes, for tensors whose header passed take_coded.
void decode_planes(const Graph& graph, TensorMap& tensors, const std::string& where);

}  // namespace tessera
