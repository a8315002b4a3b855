// A network as the layers that read its weights: for methods that work layer by layer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/state.h"
#include "quant/calibrate/calibration.h"
#include "quant/plan/policy.h"

namespace tessera::quant {

// The nodes that multiply a weight: conv2d(x, weight), or matmul(x, weight) that reads it
// transposed. Rows of the weight are channels (axis 1) of the result, and nothing else.
struct Layer {
  std::string name;                  // of the weight
  const Node* node;                  // the first of the graph that was searched
  std::vector<const Node*> sharing;  // the others, where layers share the weight

  Value input() const { return node->input(0); }
};

// The layers of these weights in the order of the graph, in which they begin to run. Throws Error
// naming a weight that is read by something else or by none.
std::vector<Layer> layers_of(const Graph& inference, const std::vector<std::string>& weights);

// Notes in the plan which weights are read by something else (TensorPlan::reader).
void note_readers(const Graph& inference, CompressionPlan& plan);
// Throws Error naming `method` and the weights that a plan compresses and something else reads.
void require_layers(const CompressionPlan& plan, const std::string& method);

// Calls fn with a value of an inference graph for some samples after others, in order: f32
// [samples at once, ...], or several rows a sample. Only what it needs is run.
void for_activations(Value value, const State& state, const CalibrationSet& samples,
                     const std::function<void(const Tensor&)>& fn);

// The same for all samples at once.
Tensor activations(Value value, const State& state, const CalibrationSet& samples);

}  // namespace tessera::quant
