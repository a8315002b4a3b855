// The text form of a graph: one node per line, parsed back to the same graph.
#pragma once

#include <string>
#include <string_view>

#include "core/graph.h"

namespace tessera {

std::string graph_text(const Graph& graph);
// Throws Error with the line number on anything that is not the text form of a valid graph.
Graph parse_graph(const OpSet& ops, std::string_view text);

}  // namespace tessera
