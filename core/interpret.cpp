#include "core/interpret.h"

namespace tessera {

namespace {

RefTensor empty(const TensorType& type) {
  return {type, std::vector<double>(static_cast<std::size_t>(type.shape.numel()))};
}

// Operations and elements of the nodes that `needed` names.
void check_limits(const Graph& graph, const std::vector<bool>& needed,
                  const InterpretLimits& limits) {
  double operations = 0, elements = 0;
  for (const Node& node : graph.nodes()) {
    if (!needed[static_cast<std::size_t>(node.id())]) continue;
    double values = 0;
    for (const TensorType& type : node.types()) values += static_cast<double>(type.shape.numel());
    elements += values;
    for (const Value v : node.inputs()) values += v ? static_cast<double>(v.shape().numel()) : 0;
    operations += node.op().work ? node.op().work(node) : values;
    check(operations <= limits.operations && elements <= limits.elements,
          "the reference interpreter would need over ", operations, " operations and ",
          elements * sizeof(double), " bytes up to '", node.op().name, "'; the most is ",
          limits.operations, " and ", limits.elements * sizeof(double));
  }
}

}  // namespace

std::vector<RefTensor> interpret_node(const Node& node, const std::vector<const RefTensor*>& inputs,
                                      const InterpretLimits& limits) {
  if (node.op().ref != nullptr) {
    std::vector<RefTensor> outputs;
    for (const auto& type : node.types()) outputs.push_back(empty(type));
    node.op().ref({node, inputs, outputs});
    return outputs;
  }
  check(node.op().decompose != nullptr, "[", node.op().name, "] has neither ref nor decompose");
  Graph graph(node.graph().ops());
  RefMap leaves;
  std::vector<Value> args;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) {
      args.emplace_back();
      continue;
    }
    const std::string name = "in" + std::to_string(i);
    args.push_back(graph.input(name, inputs[i]->type));
    leaves.emplace(name, *inputs[i]);
  }
  return interpret(graph, leaves, node.op().decompose(node, args), limits);
}

std::vector<RefTensor> interpret(const Graph& graph, const RefMap& leaves,
                                 const std::vector<Value>& values, const InterpretLimits& limits) {
  std::vector<bool> needed(graph.nodes().size());
  for (const Value v : values) needed[static_cast<std::size_t>(v.node->id())] = true;
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (!needed[static_cast<std::size_t>(node->id())]) continue;
    for (const Value v : node->inputs()) {
      if (v) needed[static_cast<std::size_t>(v.node->id())] = true;
    }
  }
  check_limits(graph, needed, limits);
  std::vector<std::vector<RefTensor>> results(graph.nodes().size());
  const auto at = [&](Value v) -> const RefTensor& {
    return results[static_cast<std::size_t>(v.node->id())][static_cast<std::size_t>(v.index)];
  };
  for (const Node& node : graph.nodes()) {
    const auto id = static_cast<std::size_t>(node.id());
    if (!needed[id]) continue;
    if (node.op().has(kLeaf) && node.op().ref == nullptr) {
      const auto found = leaves.find(node.name());
      check(found != leaves.end(), "interpret: no value is given for ", node.op().name, " '",
            node.name(), "'");
      RefTensor value{node.types()[0], found->second.v};
      check(value.numel() == value.type.shape.numel(), "interpret: '", node.name(), "' needs ",
            value.type.shape.numel(), " elements, got ", value.numel());
      results[id].push_back(std::move(value));
      continue;
    }
    std::vector<const RefTensor*> inputs;
    for (const Value v : node.inputs()) inputs.push_back(v ? &at(v) : nullptr);
    results[id] = interpret_node(node, inputs, limits);
  }
  std::vector<RefTensor> out;
  for (const Value v : values) out.push_back(at(v));
  return out;
}

}  // namespace tessera
