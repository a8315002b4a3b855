// The legality of a graph as code; run after every pass in Debug and in tests.
#pragma once

#include <string_view>

#include "core/graph.h"

namespace tessera {

enum class Level {
  built,     // any op, symbolic shapes
  bound,     // no batch symbol left
  selected,  // every operand's encoding is one the op's rows may take
};

// Throws std::logic_error naming `where` (a pass), the node and the broken rule.
void verify(const Graph& graph, Level level, std::string_view where);

}  // namespace tessera
