#include "core/verify.h"

#include <set>

#include "core/op_def.h"

namespace tessera {

void verify(const Graph& graph, Level level, std::string_view where) {
  int position = 0;
  const std::vector<bool> live = live_nodes(graph);
  for (const Node& node : graph.nodes()) {
    // Selection leaves nodes behind whose operands it has replaced.
    if (!live[static_cast<std::size_t>(position)]) {
      ++position;
      continue;
    }
    const auto require = [&](bool condition, const auto&... message) {
      if (condition) return;
      throw std::logic_error(cat("after ", where, ": node %", node.id(), " (", node.op().name, " '",
                                 node.name(), "'): ", message...));
    };
    require(node.id() == position++, "is out of order");
    require(graph.ops().find(node.op().name) == &node.op(), "uses an op that is not registered");
    std::vector<TensorType> types;
    std::vector<char> present;
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      const Value v = node.inputs()[i];
      types.push_back(v ? v.type() : TensorType());
      present.push_back(static_cast<bool>(v));
      if (!v) continue;
      require(&v.graph() == &graph, "has an input of another graph");
      require(v.node->id() < node.id(), "uses %", v.node->id(), " before it is computed");
      const InputDef& def = node.op().input_def(i);
      const Encoding& encoding = v.type().encoding;
      const bool taken = encoding.is_codebook() || !def.image ? def.encoded : true;
      require(level != Level::selected || encoding.is_dense() || taken || node.op().has(kStorage),
              "takes '", def.name, "' dense only, got ", v.type());
    }
    for (const auto& type : node.types()) {
      require(level == Level::built || !type.shape.is_symbolic(), "has the unbound shape ", type);
      require(level == Level::selected || type.encoding.packed_layout().empty(),
              "is packed before kernels are chosen");
    }
    if (node.op().has(kLeaf) && &node.op() != &kConstant) {
      require(!node.name().empty(), "has no name");
      continue;
    }
    const std::span<const bool> flags(reinterpret_cast<const bool*>(present.data()),
                                      present.size());
    require(node.op().infer({graph.ops(), node.op(), types, flags, node.attrs()}) == node.types(),
            "has types that differ from what its op infers");
  }
  std::set<const Node*> updated;
  for (const auto& [state, value] : graph.updates()) {
    if (!updated.insert(state.node).second || !(state.type() == value.type())) {
      throw std::logic_error(cat("after ", where, ": bad update of '", state.node->name(), "'"));
    }
  }
}

}  // namespace tessera
