// Optimizers: how a parameter moves by its gradient. Each is a row of one table.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/module.h"
#include "ops/build.h"

namespace tessera::nn {

// How a parameter departs from the others.
struct ParameterGroup {
  double lr_scale = 1;                      // times the learning rate
  std::optional<double> weight_decay = {};  // default: OptimizerOptions::weight_decay on weights
};

struct OptimizerOptions {
  std::string name = "sgd";  // of optimizers()
  double momentum = 0.9;     // sgd
  bool nesterov = true;      // sgd
  double weight_decay = 0;   // on weights (rank >= 2), not on biases, scales and batch-norm
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // adam and adamw
  // Scales the gradient of the loss down to this norm over all parameters (Pascanu et al. 2013);
  // 0: no limit. Objectives of the weights are added afterwards.
  double clip_norm = 0;
  // By the parameter's name; null: one group.
  std::function<ParameterGroup(const std::string&)> group = nullptr;
};

// What training does with one parameter under these options. Throws Error for a scale or a decay
// that is negative or not finite.
ParameterGroup group_of(const OptimizerOptions& options, const ParameterSpec& parameter);

// A trained parameter and the gradient of the task's loss by it.
struct NamedGradient {
  std::string parameter;
  Value gradient;
};
// Replaces gradients by others, nodes of the same graph, whose states it may add to the scope: what
// clips them, averages them over steps or sums them over machines.
using GradientTransform = std::function<void(Scope& scope, std::span<NamedGradient> gradients)>;
// Scales all of them down to this norm over all parameters (OptimizerOptions::clip_norm). Throws
// Error for a limit that is not positive.
GradientTransform clip_by_norm(double limit);

// One update of one parameter, being built.
struct Update {
  Value parameter, gradient;
  std::vector<Value> moments;  // before it, one for each of moments_of()
  Value count;                 // updates since the moments were zero, this one included
  Value rate;
  double weight_decay = 0;
  const OptimizerOptions& options;
};
struct Updated {
  Value parameter;
  std::vector<Value> moments;
};

struct Optimizer {
  std::string name, doc;
  std::vector<std::string> moments;  // of the parameter's type, states "NAME.MOMENT" from zero
  bool counts = false;               // whether it asks for Update::count
  Updated (*update)(const Update&) = nullptr;
  // Of its options: what a resumed run must agree with.
  std::vector<std::pair<std::string, double>> (*settings)(const OptimizerOptions&) = nullptr;
};

// sgd, adam, adamw.
std::span<const Optimizer> optimizers();
// Throws Error, naming those that there are.
const Optimizer& optimizer(const std::string& name);
// The moments that these options ask for: without momentum sgd has none to keep.
std::vector<std::string> moments_of(const OptimizerOptions& options);

}  // namespace tessera::nn
