// Graph passes. The table in passes.cpp is the order; TESSERA_DUMP=after:<pass> prints the graph
// after one, TESSERA_SKIP=<pass>[,<pass>] leaves an optimization-only pass out.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/graph.h"

namespace tessera {

struct PassContext {
  std::map<std::string, int> rule_hits;
};

struct Pass {
  std::string_view name;
  std::string_view doc;
  Graph (*run)(const Graph&, PassContext&);
};

// lower, simplify, fold, fuse. Common subexpressions and dead code need no pass of their own: nodes
// are hash-consed and every pass copies the live part only.
std::span<const Pass> graph_passes();

Graph simplify(const Graph& graph, PassContext& context);
Graph fold(const Graph& graph, PassContext& context);
Graph fuse(const Graph& graph, PassContext& context);

// Runs all passes on a graph with bound shapes, honouring TESSERA_DUMP and TESSERA_SKIP, verifying
// after each when `checked`.
Graph run_passes(Graph graph, PassContext& context, bool checked);

// Whether TESSERA_SKIP lists `name`.
bool pass_skipped(std::string_view name);
// What TESSERA_DUMP has before the name of a pass.
inline constexpr const char* kDumpAfter = "after:";
void dump_after(std::string_view pass, const Graph& graph);

}  // namespace tessera
