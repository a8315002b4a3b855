#include "quant/calibrate/layers.h"

#include <algorithm>
#include <map>

#include "core/compile.h"
#include "core/interrupt.h"
#include "core/subgraph.h"
#include "nn/trainer.h"
#include "ops/conv/conv.h"
#include "ops/matmul/matmul.h"

namespace tessera::quant {

namespace {

bool multiplies_rows(const Node& node) {
  if (&node.op() == &kConv2d) return true;
  return &node.op() == &kMatmul && node.attrs().boolean("transpose_b") &&
         !node.attrs().boolean("transpose_a");
}

}  // namespace

std::vector<Layer> layers_of(const Graph& inference, const std::vector<std::string>& weights) {
  std::map<const Node*, std::string> wanted;
  for (const std::string& name : weights) {
    const Node* leaf = inference.find_leaf(name);
    check(leaf != nullptr, "the network does not use '", name, "'");
    wanted.emplace(leaf, name);
  }
  std::vector<Layer> layers;
  std::map<std::string, std::size_t> places;
  const std::vector<bool> live = live_nodes(inference);
  for (const Node& node : inference.nodes()) {
    if (!live[static_cast<std::size_t>(node.id())]) continue;
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      const auto found = wanted.find(node.inputs()[i].node);
      if (found == wanted.end()) continue;
      const std::string& name = found->second;
      check(i == 1 && multiplies_rows(node), "'", name, "' is read by '", node.op().name,
            "'; expected a convolution or a linear layer");
      const auto [place, first] = places.emplace(name, layers.size());
      if (first)
        layers.push_back({name, &node, {}});
      else
        layers[place->second].sharing.push_back(&node);
    }
  }
  for (const std::string& name : weights) {
    check(places.contains(name), "the network does not use '", name, "'");
  }
  return layers;
}

void note_readers(const Graph& inference, CompressionPlan& plan) {
  const std::vector<bool> live = live_nodes(inference);
  for (const Node& node : inference.nodes()) {
    if (!live[static_cast<std::size_t>(node.id())]) continue;
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      if (!node.inputs()[i] || (i == 1 && multiplies_rows(node))) continue;
      const Node& leaf = *node.inputs()[i].node;
      if (!leaf.op().has(kLeaf)) continue;
      for (TensorPlan& item : plan.tensors)
        if (item.name == leaf.name()) item.reader = node.op().name;
    }
  }
}

void require_layers(const CompressionPlan& plan, const std::string& method) {
  std::vector<std::string> others;
  for (const TensorPlan& item : plan.tensors)
    if (item.choice && !item.reader.empty())
      others.push_back(cat("'", item.name, "' is read by '", item.reader, "'"));
  check(others.empty(), method, " works on convolutions and linear layers; ", listed(others),
        ": keep them dense by a policy, or take a method that fits weights alone");
}

void for_activations(Value value, const State& state, const CalibrationSet& samples,
                     const std::function<void(const Tensor&)>& fn) {
  Graph graph(value.graph().ops());
  Subgraph copy(graph);
  graph.set_output("value", copy(value));
  for (const Node* node : carried_inputs(value.graph())) {
    const std::string next = next_name(node->name());
    graph.set_output(next, copy(value.graph().output(next)));
  }
  // Contexts of a live plan may write to their state, which this graph does not.
  State shared;
  for (const Node* node : graph.states()) shared.set(node->name(), state.get(node->name()));
  const std::int64_t n = samples.samples(), batch = samples.batch_for(graph);
  for (std::int64_t first = 0; first < n;) {
    const std::int64_t rows = std::min(batch, n - first);
    const Plan plan = compile(graph, {.batch = rows});
    RunContext context = plan.context(shared);
    for (; first + rows <= n; first += rows) {
      stop_if_interrupted();
      for (const auto& [name, tensor] : samples.inputs(plan, first, rows))
        context.bind(name, tensor);
      context.run();
      fn(context.output("value"));
    }
  }
}

Tensor activations(Value value, const State& state, const CalibrationSet& samples) {
  Tensor out(DType::f32, value.type().bind(samples.samples()).shape);
  std::int64_t row = 0;
  for_activations(value, state, samples, [&](const Tensor& some) {
    const std::int64_t rows = some.shape()[0].value();
    out.slice(row, row + rows).copy_from<float>(some.span<float>());
    row += rows;
  });
  return out;
}

}  // namespace tessera::quant
