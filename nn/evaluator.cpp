#include "nn/evaluator.h"

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "nn/raw_input.h"
#include "ops/op_list.h"

namespace tessera::nn {

namespace {

// Logits before this one by size; of equal ones the first comes first, NaN counts as the largest.
std::int64_t rank_of(const float* row, std::int64_t classes, std::int32_t label) {
  const float own = row[label];
  return std::count_if(row, row + label, [&](float v) { return !(v < own); }) +
         std::count_if(row + label + 1, row + classes, [&](float v) { return !(v <= own); });
}

}  // namespace

Shape batched(const Shape& sample) {
  Shape shape{kBatch};
  for (const Dim d : sample.dims()) shape.push_back(d);
  return shape;
}

Graph inference_graph(const Module& model, const Shape& sample) {
  Graph graph(ops::standard_ops());
  Scope scope(graph);
  graph.set_output("logits",
                   model.forward(scope, graph.input("x", {DType::f32, batched(sample), {}})));
  return graph;
}

std::int64_t evaluation_batch(const Shape& sample) {
  constexpr std::int64_t kValues = std::int64_t{1} << 20;
  return std::clamp<std::int64_t>(kValues / std::max<std::int64_t>(1, sample.numel()), 16, 1000);
}

Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed) {
  Model out{Graph(ops::standard_ops()), {}, {}};
  Scope scope(out.graph);
  const Value x = out.graph.input("x", {DType::f32, batched(sample), {}});
  out.graph.set_output("logits", model.forward(scope, x));
  initialize(out.state, scope.parameters(), seed);
  initialize(out.state, scope.states(), seed);
  return out;
}

Evaluation Evaluator::operator()(State& state, const BatchSource& data, std::int64_t batch) {
  Evaluation out;
  const Shape sample = data.sample_shape();
  if (batch == 0) batch = evaluation_batch(sample);
  std::optional<RunContext> context;
  std::int64_t rows = 0;
  double loss = 0;
  Tensor x, y;
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
      x = Tensor(DType::f32, batched(sample).bind(n));
      y = Tensor(DType::s32, Shape{n});
      context->bind(input_name(graph_), x);
      rows = n;
    }
    data.fill(-1, first, x, y);
    context->run();
    const Tensor& logits = context->output("logits");
    const auto values = logits.span<float>();
    const auto labels = y.span<std::int32_t>();
    const std::int64_t classes = logits.shape()[1].value();
    for (std::int64_t i = 0; i < n; ++i) {
      const float* row = values.data() + i * classes;
      const float* best = std::max_element(row, row + classes);
      double sum = 0;
      for (std::int64_t c = 0; c < classes; ++c)
        sum += std::exp(static_cast<double>(row[c] - *best));
      const std::int32_t label = labels[static_cast<std::size_t>(i)];
      check(label >= 0 && label < classes, data.name(), ": label ", label, " of sample ", first + i,
            " is outside the network's ", classes, " classes");
      loss += std::log(sum) + *best - row[label];
      const std::int64_t rank = rank_of(row, classes, label);
      out.correct += rank == 0;
      out.correct5 += rank < 5;
    }
  }
  out.samples = data.samples();
  check(out.samples > 0, data.name(), " has no samples");
  out.loss = loss / static_cast<double>(out.samples);
  out.accuracy = static_cast<double>(out.correct) / static_cast<double>(out.samples);
  return out;
}

}  // namespace tessera::nn
