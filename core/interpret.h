// The reference interpreter: runs a graph in f64 with every op's plain `ref`. Slow and obvious;
// what kernels, passes and gradients are tested against. An encoded value is its logical elements
// here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/op_def.h"

namespace tessera {

using RefMap = std::map<std::string, RefTensor>;

// Evaluates the values of a graph with bound shapes. `leaves` gives inputs, params and states by
// name; throws Error when one is missing or has another number of elements.
std::vector<RefTensor> interpret(const Graph& graph, const RefMap& leaves,
                                 const std::vector<Value>& values);

// Evaluates one node from its inputs: ref, or decompose followed by ref.
std::vector<RefTensor> interpret_node(const Node& node,
                                      const std::vector<const RefTensor*>& inputs);

}  // namespace tessera
