#include "core/passes/passes.h"

#include <iostream>

#include "core/environment.h"
#include "core/graph_text.h"
#include "core/op_def.h"
#include "core/verify.h"

namespace tessera {

namespace {

// Ops made of others, before anything is matched or fused.
Graph lower(const Graph& graph, PassContext&) {
  return transform(graph, [](Graph& to, const Node& node, std::vector<Value> inputs) {
    const OpDef& op = node.op();
    std::vector<Value> copy = copy_node(to, node, inputs);
    if (op.decompose == nullptr || !op.rows.empty()) return copy;
    return op.decompose(*copy[0].node, inputs);
  });
}

constexpr Pass kPasses[] = {
    {"lower", "ops that are made of others become them", lower},
    {"simplify", "algebraic rules of the op families", simplify},
    {"fold", "ops on constants become constants", fold},
    {"fuse", "elementwise chains become programs, and epilogues where the producer can carry one",
     fuse},
};

}  // namespace

std::span<const Pass> graph_passes() {
  return kPasses;
}
bool pass_skipped(std::string_view name) {
  return environment_lists("TESSERA_SKIP", name);
}

void dump_after(std::string_view pass, const Graph& graph) {
  if (environment_lists("TESSERA_DUMP", cat(kDumpAfter, pass))) {
    std::cerr << "# after " << pass << "\n" << graph_text(graph);
  }
}

Graph run_passes(Graph graph, PassContext& context, bool checked) {
  for (const Pass& pass : kPasses) {
    if (pass_skipped(pass.name)) continue;
    graph = pass.run(graph, context);
    if (checked) verify(graph, Level::bound, pass.name);
    dump_after(pass.name, graph);
  }
  return graph;
}

}  // namespace tessera
