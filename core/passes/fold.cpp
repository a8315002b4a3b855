// Constants are splats (one value everywhere), so only results that are splats again are folded:
// elementwise ops on constants, and one-element results of small inputs.
#include "core/interpret.h"
#include "core/op_def.h"
#include "core/passes/passes.h"

namespace tessera {

namespace {

constexpr std::int64_t kMaxFoldedInput = 4096;

Value fold_node(Value value) {
  const Node& node = *value.node;
  const OpDef& op = node.op();
  if (op.has(kLeaf) || op.has(kRandom) || op.has(kStorage) || op.has(kCommunicates) ||
      node.inputs().empty())
    return value;
  const bool scalar_result = value.shape().numel() == 1;
  if (!(op.has(kElementwise) || scalar_result)) return value;
  std::vector<RefTensor> inputs;
  for (const Value v : node.inputs()) {
    const auto number = constant_value(v);
    if (!number) return value;
    // An elementwise result is the same everywhere: one element stands for all.
    const Shape shape = op.has(kElementwise) ? Shape() : v.shape();
    if (shape.numel() > kMaxFoldedInput) return value;
    inputs.push_back({{v.type().dtype, shape, {}},
                      std::vector<double>(static_cast<std::size_t>(shape.numel()), *number)});
  }
  if (op.has(kElementwise)) {
    std::vector<double> args;
    for (const auto& input : inputs) args.push_back(input.v[0]);
    return value.graph().constant(op.scalar(args.data()), value.type());
  }
  if (op.ref == nullptr) return value;
  std::vector<const RefTensor*> pointers;
  for (const auto& input : inputs) pointers.push_back(&input);
  return value.graph().constant(interpret_node(node, pointers)[0].v[0], value.type());
}

}  // namespace

Graph fold(const Graph& graph, PassContext&) {
  return transform(graph, [](Graph& to, const Node& node, std::vector<Value> inputs) {
    std::vector<Value> outputs = copy_node(to, node, std::move(inputs));
    if (outputs.size() == 1) outputs[0] = fold_node(outputs[0]);
    return outputs;
  });
}

}  // namespace tessera
