#include "quant/pack/reshaped.h"

#include <memory>

#include "core/op_def.h"
#include "core/subgraph.h"
#include "ops/codebook/codebook.h"
#include "ops/sparse/sparse.h"

namespace tessera::quant {

namespace {

// What stands for weight `name` in a graph whose weights are packed; none where it is dense.
Value packed_weight(const Graph& graph, const std::string& name) {
  Value weight;
  for (const Node& node : graph.nodes()) {
    const bool indices =
        &node.op() == &kCodebook && node.input(0).node->name() == name + ".indices";
    if (indices) weight = node.output();
    // weight + sparse
    if (weight && node.op().has(kElementwise | kCommutative) && node.inputs().size() == 2 &&
        node.input(0) == weight && &node.input(1).node->op() == &kSparse)
      return node.output();
  }
  return weight;
}

}  // namespace

Model reshaped(const Graph& inference, const Model& model) {
  std::unique_ptr<Subgraph> copied;
  Graph graph = transform(inference, [&](Graph& to, const Node& node, std::vector<Value> inputs) {
    if (&node.op() != &kParam && &node.op() != &kState)
      return copy_node(to, node, std::move(inputs));
    const Value packed = packed_weight(model.graph, node.name());
    const TensorType& wanted = node.types()[0];
    if (packed) {
      check(packed.shape() == wanted.shape, "'", node.name(), "' must be ", wanted.text(),
            ", the model has ", packed.type().text());
      if (!copied) copied = std::make_unique<Subgraph>(to);
      return std::vector<Value>{(*copied)(packed)};
    }
    check(model.state.has(node.name()), "the model has no '", node.name(), "'");
    const Tensor& tensor = model.state.get(node.name());
    check(tensor.dtype() == wanted.dtype && tensor.shape() == wanted.shape, "'", node.name(),
          "' must be ", wanted.text(), ", the model has ", tensor.text_type());
    return copy_node(to, node, std::move(inputs));
  });
  Model out{std::move(graph), {}, model.settings, model.attached};
  for (const Node* node : out.graph.states())
    out.state.set(node->name(), model.state.get(node->name()).clone());
  return out;
}

}  // namespace tessera::quant
