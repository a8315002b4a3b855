#include "nn/evaluator.h"

#include <algorithm>
#include <optional>

#include "core/interrupt.h"
#include "nn/raw_input.h"
#include "ops/op_list.h"

namespace tessera::nn {

Graph inference_graph(const Network& network, const Task& task) {
  return initial_model(network, task).graph;
}

Graph inference_graph(const Module& model, const Shape& sample) {
  return initial_model(model, sample).graph;
}

std::int64_t evaluation_batch(std::span<const Field> inputs) {
  constexpr std::int64_t kValues = std::int64_t{1} << 20;
  std::int64_t values = 1;
  for (const Field& field : inputs) values = std::max(values, field.sample.numel());
  return std::clamp<std::int64_t>(kValues / values, 16, 1000);
}

Model initial_model(const Network& network, const Task& task, std::uint64_t seed) {
  Model out{Graph(ops::standard_ops()), {}, {}};
  Scope scope(out.graph);
  Values inputs;
  for (const Field& field : task.inputs())
    inputs.emplace(field.name, out.graph.input(field.name, field.type()));
  for (const auto& [name, value] : network.forward(scope, inputs))
    out.graph.set_output(name, value);
  initialize(out.state, scope.parameters(), seed);
  initialize(out.state, scope.states(), seed);
  return out;
}

Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed) {
  Model out{Graph(ops::standard_ops()), {}, {}};
  Scope scope(out.graph);
  const Value x = out.graph.input("x", Field{"x", DType::f32, sample}.type());
  out.graph.set_output("logits", model.forward(scope, x));
  initialize(out.state, scope.parameters(), seed);
  initialize(out.state, scope.states(), seed);
  return out;
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
        const std::string input = name == kInputName ? std::string(input_name(graph_)) : name;
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
