#include "nn/graph_network.h"

#include <algorithm>
#include <utility>

#include "core/subgraph.h"

namespace tessera::nn {

GraphNetwork::GraphNetwork(Model model) : model_(std::make_shared<const Model>(std::move(model))) {
  check(model_->graph.updates().empty(), "[graph network] expected an inference graph, got ",
        model_->graph.updates().size(), " updates of states");
  for (const Node* leaf : model_->graph.states()) {
    const TensorType& type = leaf->types()[0];
    check(model_->state.has(leaf->name()), "[graph network] the model has no tensor '",
          leaf->name(), "'");
    const Tensor& tensor = model_->state.get(leaf->name());
    check(tensor.dtype() == type.dtype && tensor.shape() == type.shape, "[graph network] '",
          leaf->name(), "' is ", tensor.text_type(), ", the graph has ", type.text());
    check(type.dtype == DType::f32, "[graph network] '", leaf->name(), "' is ", type.text(),
          ", which cannot be trained; decode codebook weights first");
  }
}

Values GraphNetwork::forward(Scope& scope, const Values& inputs) const {
  check(!scope.input_hook() && !scope.activation_hook(),
        "[graph network] a graph does not say where its layers are, so activations cannot be "
        "quantized; build the network from its source");
  const Graph& graph = model_->graph;
  const auto carried = carried_inputs(graph);
  std::map<const Node*, Value> before;
  for (const Node* node : carried) {
    const auto& dims = node->types()[0].shape.dims();
    before[node] =
        scope.carried(node->name(), Shape(std::vector<Dim>(dims.begin() + 1, dims.end())));
  }
  Subgraph copy(scope.graph());
  for (const Node* leaf : graph.inputs()) {
    const auto at = before.find(leaf);
    copy.replace(leaf->output(), [&, leaf, at] {
      if (at != before.end()) return at->second;
      const Value given = require(inputs, leaf->name(), "the network");
      check(given.type() == leaf->types()[0], "[graph network] the input '", leaf->name(), "' is ",
            given.type().text(), ", the graph reads ", leaf->types()[0].text());
      return given;
    });
  }
  const auto parameters = graph.parameters();
  for (const Node* leaf : graph.states()) {
    const bool trained = std::ranges::find(parameters, leaf) != parameters.end();
    // All of them in the graph's order, whoever reads them first.
    const Init init = Init::values(model_->state.get(leaf->name()));
    const Shape& shape = leaf->types()[0].shape;
    const Value value =
        trained ? scope.param(leaf->name(), shape, init) : scope.state(leaf->name(), shape, init);
    copy.replace(leaf->output(), [value] { return value; });
  }
  Values out;
  for (const auto& [name, value] : graph.outputs()) {
    const auto is_carried = [&](const Node* node) { return next_name(node->name()) == name; };
    if (std::ranges::none_of(carried, is_carried)) out.emplace(name, copy(value));
  }
  for (const Node* node : carried)
    scope.carry(before.at(node), copy(graph.output(next_name(node->name()))));
  return out;
}

}  // namespace tessera::nn
