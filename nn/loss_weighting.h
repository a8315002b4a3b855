// How the losses of a task share a step. Some weightings look at the losses alone and cost one
// backward pass; others look at the inner products of their gradients, which costs a backward pass
// for each loss. Objectives on the weights may take part in the latter (Coefficient::Kind::joint).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/module.h"
#include "nn/task.h"
#include "ops/weighting/loss_weights.h"

namespace tessera::nn {

struct LossWeighting {
  std::string name = "sum";  // of loss_weightings()
  // What each loss weighs where nothing conflicts, in the order of Task::losses; empty: 1 each.
  std::vector<double> preference = {};
  // By gradients (others do not ask): weights for each tensor, from its own inner products; false:
  // one for each loss, from inner products over all parameters that several losses reach. A
  // parameter that one loss reaches hears it with its preference.
  bool per_tensor = false;
  double c = 0.5;           // cagrad: how far it may go from the sum, a share of its length
  double smoothness = 0.1;  // tchebycheff: mu
  double rate = 0.025, decay = 1e-3;  // famo: of its own update (beta, gamma)
};

// Numbers to look at, by name.
using Shown = std::vector<std::pair<std::string, Value>>;

struct LossWeightingRow {
  std::string name, doc;
  std::optional<GramianRule> by_gradients;  // else
  // What is minimised; what it weighs the losses with joins `shown` ("weight.LOSS").
  Value (*total)(Scope& scope, std::span<const NamedLoss> losses, const LossWeighting& options,
                 Shown& shown) = nullptr;
};
std::span<const LossWeightingRow> loss_weightings();
// Throws Error, naming those that there are, for another name.
const LossWeightingRow& loss_weighting(const std::string& name);
// Throws Error for a preference, a share or a rate that is out of its range. `losses`: how many
// there are; 0: not known yet.
void require_weighting(const LossWeighting& options, std::size_t losses = 0);
// Whether it is more than the plain sum.
bool weighs(const LossWeighting& options);

// Gradients of one thing that is minimised, by the parameters of a step; none where it does not
// depend on one.
struct JointGradient {
  std::string name;
  double preference = 1;
  std::vector<Value> by;
};
struct JointGradients {
  std::vector<Value> by;                    // combined; none where nobody has one
  std::vector<std::vector<Value>> weights;  // [gradient][parameter], none likewise
  // "weight.LOSS", with per_tensor "PARAMETER.weight.LOSS", and for each parameter that several
  // reach "PARAMETER.cosine.A.B".
  Shown shown;
};
// A weighting by gradients. `parameters` are the names of what they are gradients by. Throws Error
// for fewer than two gradients or more than kMostLosses.
JointGradients join_gradients(Scope& scope, const LossWeighting& options,
                              std::span<const JointGradient> gradients,
                              std::span<const std::string> parameters);

}  // namespace tessera::nn
