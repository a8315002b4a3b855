// A network in inference form, and its metrics on a data set.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>

#include "core/batch_source.h"
#include "core/compile.h"
#include "core/model.h"
#include "nn/task.h"

namespace tessera::nn {

// The task's inputs as inputs of a graph.
Values network_inputs(Graph& graph, const Task& task);

// The network in inference form on what the task gives it, with all its outputs.
Graph inference_graph(const Network& network, const Task& task);
// Of a module: x [batch, sample...] -> logits.
Graph inference_graph(const Module& model, const Shape& sample);

// The untrained network.
Model initial_model(const Network& network, const Task& task, std::uint64_t seed = 1);
Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed = 1);

// Samples at once where nobody says: 1000, fewer where they, or what the graph gives for each, are
// large, so that activations stay in bounds.
std::int64_t evaluation_batch(std::span<const Field> fields, const Graph& graph);

// A graph that carries values from batch to batch runs on the streams of a source, one piece of
// each at a time: so many samples. 0: it carries none. Throws Error for a source without streams.
std::int64_t stream_batch(const Graph& graph, const BatchSource& data);

// Runs an inference graph over a data set. Its inputs are fields of the task, or carried from batch
// to batch, zeros at first; one named "raw" is its "x" as stored (nn/raw_input.h). Plans are
// compiled once per batch size; a change of the state's values needs no new plan.
class Evaluator {
 public:
  Evaluator(const Graph& graph, std::shared_ptr<const Task> task, CompileOptions options = {});
  // batch 0: evaluation_batch(), and always that of the streams where the graph carries. Throws
  // Error where the data has no samples or not the fields.
  Evaluation operator()(State& state, const BatchSource& data, std::int64_t batch = 0);
  // The same into meters of the task, which may have seen other data before.
  void operator()(State& state, const BatchSource& data, std::initializer_list<Meter*> meters,
                  std::int64_t batch = 0);
  const Task& task() const { return *task_; }

 private:
  const Plan& plan(std::int64_t batch);

  Graph graph_;  // with what the task measures as outputs, and what is carried
  std::shared_ptr<const Task> task_;
  CompileOptions options_;
  std::map<std::int64_t, Plan> plans_;
};

}  // namespace tessera::nn
