#include "nn/raw_input.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "ops/build.h"

namespace tessera::nn {

namespace {

bool all_equal(std::span<const float> values) {
  return std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) == values.end();
}

// One value for each `run` of equal ones; empty where they differ within a run.
std::vector<float> one_per_run(std::span<const float> values, std::size_t run) {
  std::vector<float> out;
  for (std::size_t i = 0; i < values.size(); i += run) {
    if (!all_equal(values.subspan(i, run))) return {};
    out.push_back(values[i]);
  }
  return out;
}

// `values` as a factor of x [batch, sample...], in as few values as will do.
Value operand(Graph& graph, State& state, const std::string& name, const Tensor& values,
              const Shape& sample) {
  const auto all = values.span<float>();
  check(std::ssize(all) == sample.numel(), "[raw input] ", name, " has ", all.size(),
        " values, a sample ", sample.numel());
  if (all_equal(all)) return graph.constant(all[0]);
  Shape shape = sample;
  std::vector<float> kept(all.begin(), all.end());
  if (sample.rank() > 1) {
    const auto channels = static_cast<std::size_t>(sample[0].value());
    if (auto few = one_per_run(all, all.size() / channels); !few.empty()) {
      kept = std::move(few);
      shape = Shape{sample[0]};
      for (int i = 1; i < sample.rank(); ++i) shape.push_back(1);
    }
  }
  check(!state.has(name), "[raw input] the model has a '", name, "' already");
  const Value leaf = graph.state(name, {DType::f32, shape, {}});
  state.set(name, Tensor::from(kept, shape));
  Shape broadcast{1};
  for (const Dim d : shape.dims()) broadcast.push_back(d);
  return ops::reshape(leaf, broadcast);
}

const Node* find_input(const Graph& graph, std::string_view name) {
  for (const Node* node : graph.inputs()) {
    if (node->name() == name) return node;
  }
  return nullptr;
}

}  // namespace

std::string_view input_name(const Graph& graph) {
  for (const std::string_view name : {kRawInputName, kInputName}) {
    if (find_input(graph, name)) return name;
  }
  fail("the graph has no input '", kInputName, "' and no input '", kRawInputName, "'");
}

Model with_raw_input(const Model& model, const Tensor& scale, const Tensor& shift) {
  const Node* x = find_input(model.graph, kInputName);
  check(x != nullptr, "[raw input] the model has no input '", kInputName, "'");
  const auto& dims = x->types()[0].shape.dims();
  const Shape sample(std::vector<Dim>(dims.begin() + 1, dims.end()));
  State state = model.state.clone();
  Graph graph = transform(model.graph, [&](Graph& to, const Node& node, std::vector<Value> inputs) {
    if (&node != x) return copy_node(to, node, std::move(inputs));
    const Value raw = to.input(std::string(kRawInputName), node.types()[0]);
    const Value scaled = raw * operand(to, state, "preprocess.scale", scale, sample);
    return std::vector<Value>{scaled - operand(to, state, "preprocess.shift", shift, sample)};
  });
  return {std::move(graph), std::move(state), model.settings, model.attached};
}

}  // namespace tessera::nn
