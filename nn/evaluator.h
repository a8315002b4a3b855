// A network in inference form, and its loss and accuracy on a data set.
#pragma once

#include <cstdint>
#include <map>

#include "core/batch_source.h"
#include "core/compile.h"
#include "core/model.h"
#include "nn/module.h"

namespace tessera::nn {

// [batch, sample...], the batch symbolic.
Shape batched(const Shape& sample);

// x [batch, sample...] -> logits, with the modules in inference form.
Graph inference_graph(const Module& model, const Shape& sample);

// The untrained network.
Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed = 1);

struct Evaluation {
  double loss = 0;      // mean cross-entropy
  double accuracy = 0;  // share of samples
  std::int64_t correct = 0, samples = 0;
  std::int64_t correct5 = 0;  // the label is among the five largest logits
  double error_percent() const { return 100.0 * (1.0 - accuracy); }
};

// Samples at once where nobody says: 1000, fewer for large ones, so that activations stay in
// bounds.
std::int64_t evaluation_batch(const Shape& sample);

// Runs an inference graph (input "x" or "raw" [batch, ...], output "logits" [batch, classes]) over
// a data set. Plans are compiled once per batch size; a change of the state's values needs no new
// plan.
class Evaluator {
 public:
  explicit Evaluator(Graph graph, CompileOptions options = {})
      : graph_(std::move(graph)), options_(options) {}
  // batch 0: evaluation_batch().
  Evaluation operator()(State& state, const BatchSource& data, std::int64_t batch = 0);
  const Graph& graph() const { return graph_; }

 private:
  Graph graph_;
  CompileOptions options_;
  std::map<std::int64_t, Plan> plans_;
};

}  // namespace tessera::nn
