#include "nn/evaluator.h"

#include <algorithm>
#include <optional>

#include "core/interrupt.h"
#include "core/subgraph.h"
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

std::int64_t evaluation_batch(std::span<const Field> fields, const Graph& graph) {
  constexpr std::int64_t kValues = std::int64_t{1} << 20;
  std::int64_t values = 1;
  for (const Field& field : fields) values = std::max(values, field.sample.numel());
  for (const auto& [name, value] : graph.outputs())
    values = std::max(values, value.type().bind(1).shape.numel());
  return std::clamp<std::int64_t>(kValues / values, 16, 1000);
}

std::int64_t stream_batch(const Graph& graph, const BatchSource& data) {
  const auto carried = carried_inputs(graph);
  if (carried.empty()) return 0;
  check(data.lanes() >= 1, "the network carries '", carried.front()->name(),
        "' from batch to batch, but the samples of ", data.name(), " are no streams");
  check(data.samples() % data.lanes() == 0, data.name(), " has ", data.samples(),
        " pieces, which is no multiple of its ", data.lanes(), " streams");
  return data.lanes();
}

namespace {

Graph measured_graph(const Graph& graph, const Task& task) {
  Graph whole = clone(graph);
  const auto carried = carried_inputs(whole);
  Values outputs;
  for (const auto& [name, value] : whole.outputs()) outputs.emplace(name, value);
  for (const Node* node : carried) outputs.erase(next_name(node->name()));
  const Values seen = task.measured({whole, task.fields()}, outputs);
  Graph out(whole.ops());
  out.set_source(whole.source());
  Subgraph copy(out);
  for (const auto& [name, value] : seen) out.set_output(name, copy(value));
  for (const Node* node : carried) {
    const std::string next = next_name(node->name());
    out.set_output(next, copy(whole.output(next)));
  }
  return out;
}

// Whether every output has rows for each sample, so that those of samples too many can be left out.
bool has_rows(const Graph& graph) {
  return std::ranges::all_of(graph.outputs(), [](const auto& output) {
    const Shape& shape = output.second.shape();
    return shape.rank() >= 1 && shape[0].is_symbolic();
  });
}

}  // namespace

Evaluator::Evaluator(const Graph& graph, std::shared_ptr<const Task> task, CompileOptions options)
    : graph_(measured_graph(graph, *task)), task_(std::move(task)), options_(options) {}

const Plan& Evaluator::plan(std::int64_t batch) {
  auto at = plans_.find(batch);
  if (at == plans_.end()) {
    CompileOptions options = options_;
    options.batch = batch;
    at = plans_.emplace(batch, compile(graph_, options)).first;
  }
  return at->second;
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
  if (const std::int64_t streams = stream_batch(graph_, data); streams > 0) batch = streams;
  if (batch == 0) batch = evaluation_batch(fields, graph_);
  batch = std::min(batch, data.samples());
  // A short last batch runs in the plan of whole ones, behind it samples of the batch before.
  const bool pads = has_rows(graph_);
  std::optional<RunContext> context;
  TensorMap samples, outputs;
  std::int64_t rows = 0;
  for (std::int64_t first = 0; first < data.samples(); first += batch) {
    stop_if_interrupted();
    const std::int64_t n = std::min(batch, data.samples() - first);
    if (!context || (n != rows && !pads)) {
      rows = n;
      const Plan& plan = this->plan(rows);
      context.emplace(plan.context(state));
      samples = batch_of(fields, rows);
      for (const auto& [name, tensor] : samples) {
        const bool raw = name == kInputName && plan.has_input(kRawInputName);
        const std::string input(raw ? kRawInputName : name);
        if (plan.has_input(input)) context->bind(input, tensor);
      }
    }
    TensorMap given = slice(samples, 0, n);
    data.fill(-1, first, given);
    context->run();
    for (const auto& [name, value] : graph_.outputs()) {
      const Tensor& all = context->output(name);
      outputs.insert_or_assign(name,
                               n == rows ? all : all.slice(0, all.shape()[0].value() / rows * n));
    }
    for (Meter* meter : meters) meter->add(given, outputs, data.name());
  }
}

}  // namespace tessera::nn
