#include "nn/evaluator.h"

#include <algorithm>
#include <optional>

#include "core/interrupt.h"
#include "nn/raw_input.h"
#include "ops/op_list.h"

namespace tessera::nn {

namespace {

// The inference form that `build` makes, initialised where a seed is given.
template <class Build>
Model built(std::optional<std::uint64_t> seed, Build&& build) {
  Model out{Graph(ops::standard_ops()), {}, {}};
  Scope scope(out.graph);
  for (const auto& [name, value] : build(scope)) out.graph.set_output(name, value);
  if (!seed) return out;
  initialize(out.state, scope.parameters(), *seed);
  initialize(out.state, scope.states(), *seed);
  return out;
}

Model built(std::optional<std::uint64_t> seed, const Network& network, const Task& task) {
  return built(seed, [&](Scope& scope) {
    return network.forward(scope, network_inputs(scope.graph(), task));
  });
}

Model built(std::optional<std::uint64_t> seed, const Module& model, const Shape& sample) {
  return built(seed, [&](Scope& scope) {
    const Value x = scope.graph().input("x", Field{"x", DType::f32, sample}.type());
    return Values{{"logits", model.forward(scope, x)}};
  });
}

}  // namespace

Values network_inputs(Graph& graph, const Task& task) {
  Values out;
  for (const Field& field : task.inputs())
    out.emplace(field.name, graph.input(field.name, field.type()));
  return out;
}

Graph inference_graph(const Network& network, const Task& task) {
  return built(std::nullopt, network, task).graph;
}

Graph inference_graph(const Module& model, const Shape& sample) {
  return built(std::nullopt, model, sample).graph;
}

Model initial_model(const Network& network, const Task& task, std::uint64_t seed) {
  return built(seed, network, task);
}

Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed) {
  return built(seed, model, sample);
}

std::int64_t evaluation_batch(std::span<const Field> inputs) {
  constexpr std::int64_t kValues = std::int64_t{1} << 20;
  std::int64_t values = 1;
  for (const Field& field : inputs) values = std::max(values, field.sample.numel());
  return std::clamp<std::int64_t>(kValues / values, 16, 1000);
}

Evaluation Evaluator::operator()(State& state, const BatchSource& data, std::int64_t batch) {
  const auto meter = task_->meter();
  (*this)(state, data, {meter.get()}, batch);
  return {data.samples(), meter->metrics()};
}

void Evaluator::operator()(State& state, const BatchSource& data,
                           std::initializer_list<Meter*> meters, std::int64_t batch) {
  check(data.samples() > 0, data.name(), " has no samples");
  std::vector<Field> fields;  // as the data has them: a raw "x" may be of another size
  for (const Field& field : task_->fields()) fields.push_back(data.field(field.name));
  if (batch == 0) batch = evaluation_batch(fields);
  std::optional<RunContext> context;
  TensorMap samples, outputs;
  std::int64_t rows = 0;
  for (std::int64_t first = 0; first < data.samples(); first += rows) {
    stop_if_interrupted();
    const std::int64_t n = std::min(batch, data.samples() - first);
    if (n != rows) {
      auto at = plans_.find(n);
      if (at == plans_.end()) {
        CompileOptions options = options_;
        options.batch = n;
        at = plans_.emplace(n, compile(graph_, options)).first;
      }
      context.emplace(at->second.context(state));
      samples = batch_of(fields, n);
      for (const auto& [name, tensor] : samples) {
        const bool raw = name == kInputName && at->second.has_input(kRawInputName);
        const std::string input(raw ? kRawInputName : name);
        if (at->second.has_input(input)) context->bind(input, tensor);
      }
      rows = n;
    }
    data.fill(-1, first, samples);
    context->run();
    for (const auto& output : graph_.outputs())
      outputs.insert_or_assign(output.first, context->output(output.first));
    for (Meter* meter : meters) meter->add(samples, outputs, data.name());
  }
}

}  // namespace tessera::nn
