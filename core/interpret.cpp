#include "core/interpret.h"

namespace tessera {

namespace {

RefTensor empty(const TensorType& type) {
  return {type, std::vector<double>(static_cast<std::size_t>(type.shape.numel()))};
}

std::string input_name(std::size_t i) {
  return "in" + std::to_string(i);
}

// What an op without a reference of its own is made of: a graph on inputs "in0", "in1" ...;
// `values` are the op's outputs in it.
Graph decomposition(const Node& node, std::vector<Value>& values) {
  check(node.op().decompose != nullptr, "[", node.op().name, "] has neither ref nor decompose");
  Graph graph(node.graph().ops());
  std::vector<Value> args;
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Value v = node.inputs()[i];
    args.push_back(v ? graph.input(input_name(i), v.type()) : Value());
  }
  values = node.op().decompose(node, args);
  return graph;
}

// Operations and elements of the nodes that `needed` names.
void check_limits(const Graph& graph, const std::vector<bool>& needed,
                  const InterpretLimits& limits) {
  double operations = 0, elements = 0;
  for (const Node& node : graph.nodes()) {
    if (!needed[static_cast<std::size_t>(node.id())]) continue;
    for (const TensorType& type : node.types()) elements += static_cast<double>(type.shape.numel());
    operations += reference_work(node);
    check(operations <= limits.operations && elements <= limits.elements,
          "the reference interpreter would need over ", operations, " operations and ",
          elements * sizeof(double), " bytes up to '", node.op().name, "'; the most is ",
          limits.operations, " and ", limits.elements * sizeof(double));
  }
}

}  // namespace

double reference_work(const Node& node) {
  const OpDef& op = node.op();
  if (op.work != nullptr) return op.work(node);
  double sum = 0;
  if (op.ref == nullptr && op.decompose != nullptr) {
    std::vector<Value> values;
    const Graph parts = decomposition(node, values);
    for (const Node& part : parts.nodes()) sum += reference_work(part);
    return sum;
  }
  for (const TensorType& type : node.types()) sum += static_cast<double>(type.shape.numel());
  for (const Value v : node.inputs()) sum += v ? static_cast<double>(v.shape().numel()) : 0;
  return sum;
}

std::vector<RefTensor> interpret_node(const Node& node, const std::vector<const RefTensor*>& inputs,
                                      const InterpretLimits& limits) {
  if (node.op().ref != nullptr) {
    std::vector<RefTensor> outputs;
    for (const auto& type : node.types()) outputs.push_back(empty(type));
    node.op().ref({node, inputs, outputs});
    return outputs;
  }
  std::vector<Value> values;
  const Graph graph = decomposition(node, values);
  RefMap leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i]) leaves.emplace(input_name(i), *inputs[i]);
  }
  return interpret(graph, leaves, values, limits);
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
