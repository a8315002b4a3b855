// The reference interpreter: runs a graph in f64 with every op's plain `ref`. Slow and obvious;
// what kernels, passes and gradients are tested against. An encoded value is its logical elements
// here.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/op_def.h"

namespace tessera {

// What a run may take at most. A small file can ask for years of plain loops.
struct InterpretLimits {
  double operations = std::numeric_limits<double>::infinity();
  double elements = std::numeric_limits<double>::infinity();  // of all values together, in f64
};

using RefMap = std::map<std::string, RefTensor>;

// Evaluates the values of a graph with bound shapes. `leaves` gives inputs, params and states by
// name; throws Error when one is missing or has another number of elements, and before any work
// when the limits would not do.
std::vector<RefTensor> interpret(const Graph& graph, const RefMap& leaves,
                                 const std::vector<Value>& values,
                                 const InterpretLimits& limits = {});

// Operations that evaluating a node takes, as its op says, else of what it is made of, else its
// values.
double reference_work(const Node& node);

// Evaluates one node from its inputs: ref, or decompose followed by ref, within the limits.
std::vector<RefTensor> interpret_node(const Node& node, const std::vector<const RefTensor*>& inputs,
                                      const InterpretLimits& limits = {});

}  // namespace tessera
