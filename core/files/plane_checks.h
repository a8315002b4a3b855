// What only an op can say of a file's tensors: whether planes mean something to it.
#pragma once

#include <span>

#include "core/tensor.h"

namespace tessera {

class Node;
struct OpDef;

// Throws Error when the planes, the node's inputs as stored, mean nothing to a storage op that
// makes a dense value of them. Takes no memory to speak of, whatever the node's shape.
using PlaneCheck = void (*)(const Node& node, std::span<const Tensor* const> planes);

// The list of ops names the checks of its ops once, before any file is read.
void set_plane_check(const OpDef& op, PlaneCheck check);
// nullptr for an op that has none.
PlaneCheck plane_check(const OpDef& op);

}  // namespace tessera
