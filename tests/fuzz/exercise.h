// Compiles and runs any graph that loads, with values of its own for every leaf.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>

#include "core/graph.h"
#include "core/tensor.h"
#include "tests/fuzz/choices.h"

namespace tessera::fuzz {

// What became of a case. Only what is small is run; what is not is compiled all the same.
enum class Outcome { refused, compiled, ran };

// Something that must not happen: a result that differs from the reference, or memory or time out
// of all proportion.
struct Finding : std::logic_error {
  using std::logic_error::logic_error;
};

// Fills the value of a leaf in place; false leaves it to random elements.
using FillLeaf = std::function<bool(const Node& leaf, Tensor& value)>;

// An Error at any point is an answer: `refused`. `compare`: results are held against the reference
// interpreter's. Throws Finding, or whatever else comes out.
Outcome exercise(const Graph& graph, Choices& choices, const FillLeaf& fill = {},
                 bool compare = false);

}  // namespace tessera::fuzz
