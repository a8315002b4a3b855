#include "quant/calibrate/batch_norm.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/interrupt.h"
#include "core/op_def.h"
#include "core/subgraph.h"
#include "ops/build.h"

namespace tessera::quant {

namespace {

const std::string kMeanSuffix = ".running_mean", kVarianceSuffix = ".running_var";

// One batch norm of an inference graph.
struct Norm {
  std::string name;
  Value x, mean, variance;  // x: what it normalizes, [batch, channels, ...]
};

std::vector<bool> depends_on(const Graph& graph, const std::vector<const Node*>& leaves,
                             const std::vector<bool>* except = nullptr) {
  std::vector<bool> out(graph.nodes().size());
  for (const Node& node : graph.nodes()) {
    const auto i = static_cast<std::size_t>(node.id());
    out[i] = std::find(leaves.begin(), leaves.end(), &node) != leaves.end();
    for (const Value v : node.inputs()) {
      out[i] = out[i] || (v && out[static_cast<std::size_t>(v.node->id())]);
    }
    if (except && (*except)[i]) out[i] = false;
  }
  return out;
}

// The value that the statistics normalize: what is multiplied by the scale made of the variance.
Value normalized(const Graph& graph, const Node& variance, const std::vector<bool>& images) {
  const std::vector<bool> scales = depends_on(graph, {&variance}, &images);
  for (const Node& node : graph.nodes()) {
    if (!images[static_cast<std::size_t>(node.id())] || node.inputs().size() != 2) continue;
    for (const int side : {0, 1}) {
      const Value x = node.input(side), scale = node.input(1 - side);
      if (node.op().name != "mul" || !images[static_cast<std::size_t>(x.node->id())] ||
          !scales[static_cast<std::size_t>(scale.node->id())]) {
        continue;
      }
      const Shape& shape = x.shape();
      if (shape.rank() >= 2 && shape[1] == variance.types()[0].shape[0]) return x;
    }
  }
  return {};
}

std::vector<Norm> find_norms(const Graph& graph) {
  const std::vector<bool> images = depends_on(graph, graph.inputs());
  const std::vector<bool> live = live_nodes(graph);
  std::vector<Norm> norms;
  for (const Node* leaf : graph.states()) {
    if (!leaf->name().ends_with(kMeanSuffix) || !live[static_cast<std::size_t>(leaf->id())])
      continue;
    Norm norm;
    norm.name = leaf->name().substr(0, leaf->name().size() - kMeanSuffix.size());
    norm.mean = leaf->output();
    const Node* variance = graph.find_leaf(norm.name + kVarianceSuffix);
    if (variance) norm.x = normalized(graph, *variance, images);
    check(static_cast<bool>(norm.x), "the batch norm '", norm.name,
          "' does not scale an image by its running variance; it cannot be re-estimated");
    norm.variance = variance->output();
    norms.push_back(std::move(norm));
  }
  check(!norms.empty(), "the network has no batch norm to re-estimate");
  return norms;
}

// Updates every running mean and variance towards the batch's by the input "share".
Graph estimation_graph(const Graph& inference, const std::vector<Norm>& norms) {
  Graph graph(inference.ops());
  Subgraph copy(graph);
  std::vector<ops::BatchNormResult> batch(norms.size());
  const auto statistics = [&](std::size_t i) {
    if (!batch[i].mean) {
      const Value x = copy(norms[i].x);
      const TensorType channels{DType::f32, Shape{x.shape()[1]}, {}};
      batch[i] = ops::batch_norm_train(x, graph.constant(1, channels), graph.constant(0, channels));
    }
    return batch[i];
  };
  for (std::size_t i = 0; i < norms.size(); ++i) {
    copy.replace(norms[i].mean, [&statistics, i] { return statistics(i).mean; });
    copy.replace(norms[i].variance, [&statistics, i] { return statistics(i).variance; });
  }
  const Value share = graph.input("share", f32({}));
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const ops::BatchNormResult found = statistics(i);
    const Value x = copy(norms[i].x);
    Ints axes = {0};
    for (int axis = 2; axis < x.shape().rank(); ++axis) axes.push_back(axis);
    const Value n = ops::count(x, axes);
    const Value unbiased = found.variance * (n / ops::maximum(n - 1.0, 1.0));
    const Value mean = graph.state(norms[i].mean.node->name(), norms[i].mean.type());
    const Value variance = graph.state(norms[i].variance.node->name(), norms[i].variance.type());
    graph.set_update(mean, mean + (found.mean - mean) * share);
    graph.set_update(variance, variance + (unbiased - variance) * share);
  }
  return graph;
}

}  // namespace

std::int64_t reestimate_batch_norm(Model& model, const BatchSource& data, std::int64_t batch) {
  check(batch >= 1, "batch norm needs batches of at least one sample, got ", batch);
  check(data.samples() >= 1, data.name(), " has no samples");
  const std::vector<Norm> norms = find_norms(model.graph);
  batch = std::min(batch, data.samples());
  const Plan plan = compile(estimation_graph(model.graph, norms), {.batch = batch});
  // On a copy, which takes the model's place when all has gone well.
  State state = model.state.clone();
  RunContext context = plan.context(state);
  std::vector<Field> read;
  for (const Node* input : model.graph.inputs()) {
    if (plan.has_input(input->name())) read.push_back(data.field(input->name()));
  }
  TensorMap samples = batch_of(read, batch);
  for (const auto& [name, tensor] : samples) context.bind(name, tensor);
  for (std::int64_t i = 0; i < data.samples() / batch; ++i) {
    stop_if_interrupted();
    data.fill(-1, i * batch, samples);
    context.set("share", 1.0f / static_cast<float>(i + 1));
    context.run();
  }
  for (const Norm& norm : norms) {
    for (const Value v : {norm.mean, norm.variance}) {
      for (const float value : state.get(v.node->name()).span<float>()) {
        check(std::isfinite(value), "'", v.node->name(), "' became ", value,
              " on the calibration samples");
      }
    }
  }
  for (const Norm& norm : norms) {
    for (const Value v : {norm.mean, norm.variance}) {
      model.state.set(v.node->name(), state.get(v.node->name()));
    }
  }
  return static_cast<std::int64_t>(norms.size());
}

}  // namespace tessera::quant
