#include "quant/calibrate/fisher.h"

#include <cmath>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/interrupt.h"
#include "nn/evaluator.h"
#include "ops/build.h"

namespace tessera::quant {

namespace {

std::string sum_of(const std::string& name) {
  return name + ".fisher";
}

// One sample's squared gradients, added to the states NAME.fisher.
Graph accumulation_graph(const Graph& inference, const nn::Task& task,
                         const std::vector<std::string>& names) {
  Graph graph = clone(inference);
  std::vector<Value> weights;
  for (const std::string& name : names) {
    const Node* leaf = graph.find_leaf(name);
    check(leaf != nullptr, "Fisher information: the network does not use '", name, "'");
    weights.push_back(leaf->output());
  }
  nn::Values outputs;
  for (const auto& [name, value] : graph.outputs()) outputs.emplace(name, value);
  const Value loss = task.loss({graph, task.fields()}, outputs, 0);
  const std::vector<Value> gradients = grad(loss, weights);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Value sum = graph.state(sum_of(names[i]), weights[i].type());
    graph.set_update(sum, sum + ops::square(gradients[i]));
  }
  return graph;
}

}  // namespace

Importance fisher_information(const Graph& inference, const nn::Task& task, const State& state,
                              const std::vector<std::string>& names, const BatchSource& samples) {
  check(samples.samples() >= 1, samples.name(), " has no samples");
  const Graph graph = accumulation_graph(inference, task, names);
  State work;
  for (const auto& [name, entry] : state.entries()) work.set(name, entry.tensor);
  for (const std::string& name : names) {
    work.set(sum_of(name), Tensor(DType::f32, graph.find_leaf(name)->types()[0].shape));
  }
  check(nn::stream_batch(graph, samples) <= 1, samples.name(), " has ", samples.lanes(),
        " streams side by side; Fisher information needs samples one by one");
  const Plan plan = compile(graph, {.batch = 1});
  RunContext context = plan.context(work);
  TensorMap sample = batch_of(task.fields(), 1);
  for (const auto& [name, tensor] : sample) {
    if (plan.has_input(name)) context.bind(name, tensor);
  }
  for (std::int64_t i = 0; i < samples.samples(); ++i) {
    stop_if_interrupted();
    samples.fill(-1, i, sample);
    context.run();
  }
  Importance out;
  const double n = static_cast<double>(samples.samples());
  for (const std::string& name : names) {
    std::vector<float> h = work.get(sum_of(name)).to_vector<float>();
    for (std::size_t i = 0; i < h.size(); ++i) {
      check(std::isfinite(h[i]), "the gradient of '", name, "' at position ", i,
            " is not finite on the calibration samples");
      h[i] = static_cast<float>(h[i] / n);
    }
    out.emplace(name, std::move(h));
  }
  return out;
}

}  // namespace tessera::quant
