// The text form of a graph: one node per line, parsed back to the same graph.
//
//   %0: f32[batch,784] = input "x"
//   %1: f32[300,784] = param "fc1.weight"
//   %2: f32[batch,300] = matmul(%0, %1) {transpose_b=true} "fc1"
//   %3: f32[2], f32[2] = pair(%2, _)          two results, an absent optional input
//   output "logits" = %2
//   output "second" = %3.1                     result 1 of node 3
//   update %1 = %4                             %1 holds %4 after the step
//
// A trailing quoted text is the node's name. Attributes at their default are left out. Lines that
// begin with '#' and empty lines are skipped when reading.
#pragma once

#include <string>
#include <string_view>

#include "core/graph.h"

namespace tessera {

std::string graph_text(const Graph& graph);
// The line of one node, without a line break.
std::string node_text(const Node& node);

// Reads the text form; types are inferred again and compared with what is written. Throws Error
// "line N: ..." on anything that is not the text form of a valid graph.
Graph parse_graph(const OpSet& ops, std::string_view text);

}  // namespace tessera
