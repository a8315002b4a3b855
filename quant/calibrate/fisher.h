// Fisher information: how much the loss feels a weight.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/batch_source.h"
#include "core/graph.h"
#include "core/state.h"
#include "nn/task.h"

namespace tessera::quant {

// Importance of every weight, by parameter, in the weight's order.
using Importance = std::map<std::string, std::vector<float>>;

// Diagonal of the empirical Fisher information: mean over the samples of (d loss / d w)^2, the loss
// being the task's on one sample. Near a minimum it stands for the diagonal
// of the Hessian, so that quantizing w to q costs about 1/2 sum h (w - q)^2.
// `inference`: the network on the task's inputs, with all its outputs; batch norm by running
// statistics. One forward and one backward pass a sample. Throws Error for a name the graph does
// not have, and for a gradient that is not finite (naming the parameter).
Importance fisher_information(const Graph& inference, const nn::Task& task, const State& state,
                              const std::vector<std::string>& names, const BatchSource& samples);

}  // namespace tessera::quant
