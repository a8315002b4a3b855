// What a training step minimises, and with what weights: the task's loss, objectives beside it, and
// how each objective is weighed against the task. Methods are made of these.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "nn/loss_weighting.h"
#include "nn/optimizer.h"
#include "nn/task.h"

namespace tessera::nn {

// The step being built. Names of parameters and states made here are whole (Scope::global_param).
struct StepBuilder {
  Graph& graph;
  Scope& scope;  // training form
  const Network& network;
  const Task& task;
  // The batch, by field: those of the task, and "index" (kIndexField), the position of each sample
  // in the data set, s32 [batch].
  FieldInputs field;
  Values inputs, outputs;  // of the network
  double label_smoothing = 0;
};

// The loss on the data in place of the task's own.
class TaskLoss {
 public:
  virtual ~TaskLoss() = default;
  virtual Value loss(StepBuilder& step) const = 0;  // scalar
};

// How an objective R is weighed against the task's loss L. The scalar input "NAME.coefficient"
// (Trainer::set) is c below; it may follow any schedule without compiling anew.
struct Coefficient {
  enum class Kind {
    scheduled,  // gradient of L + c R
    // MOCQ's dynamic Lagrangian coefficient, for each weight tensor w on its own:
    //   lambda = c0 + min(most, c |dL/dw| / |dR/dw|)
    // c0 being the scalar input "NAME.constant" (0 where nobody sets it), so c is the size of R's
    // pull in terms of the task's. The norms are moving averages.
    dynamic,
    // R <= bound as a constraint, for each weight tensor:  lambda = max(0, l + c (R - bound)), and
    // l <- lambda after each step (method of multipliers, Hestenes 1969; Powell 1969). With c = 0
    // it is off, and l stays.
    augmented,
    // c dR/dw is one of the gradients that the step's weighting of losses combines, beside those of
    // the task's losses; that weighting must be one by gradients (nn/loss_weighting.h).
    joint,
  };
  Kind kind = Kind::scheduled;
  // dynamic: share of the old value in the moving averages of the norms; 0: this step's alone.
  double average = 0.9;
  // dynamic: |dL/dw| of the step before, so that the update can ride on the product that makes the
  // gradient, and the larger of |dR/dw| before and now; false: this step's own, as MOCQ's code.
  bool lagged = true;
  // dynamic: both norms rounded to powers of ten, lambda = c 10^(round(log10 |dL|) - round(log10
  // |dR|)), as MOCQ's code (main.py).
  bool powers_of_ten = false;
  // dynamic: one lambda for all tensors, from the first one's norms, as MOCQ's code.
  bool from_first = false;
  double most = 1e30;  // dynamic
  double bound = 0;    // augmented
};

// By the names above.
const Names<Coefficient::Kind>& coefficient_kinds();

// One objective on one weight tensor.
struct WeightTerm {
  Value value;          // scalar, in R's units; computed only where it is asked for
  Value gradient = {};  // d value / d weight; none: by autodiff of `value`
  // What a dynamic coefficient takes for |dR/dw|; none: the norm of `gradient`. A gradient with
  // poles names another size here: the few weights beside a pole would make all others' pull
  // vanish. Joint ones are weighed by their gradients as they are.
  Value size = {};
  // The objective's own parameters and d value / d parameter; a none gradient: by autodiff.
  std::vector<std::pair<Value, Value>> own = {};
  // What the gradients of the own parameters are multiplied with besides the coefficient, which is
  // made for the weight's: an entry that all weights share hears all of them.
  double own_scale = 1;
};

// A term of the training loss that looks at weights alone. Its gradient is analytic and joins the
// weight's update, so it costs no backward pass.
class Objective {
 public:
  virtual ~Objective() = default;
  virtual std::string name() const = 0;
  virtual Coefficient coefficient() const { return {}; }
  // The term of the weight `name`; none when it is not touched. Own parameters are made by
  // scope.global_param and trained with the others.
  virtual std::optional<WeightTerm> term(Scope& scope, const std::string& name,
                                         Value weight) const = 0;
  // Of the objective's own parameters.
  virtual ParameterGroup own_group() const { return {1, 0.0}; }
  // Own parameters whose start depends on the weights: puts those that `state` lacks into it.
  virtual void start(State& /*state*/, const std::vector<ParameterSpec>& /*weights*/) const {}
};

// What the network computes with in place of a weight during training: a quantizer with a
// straight-through gradient, say.
class WeightTransform {
 public:
  virtual ~WeightTransform() = default;
  // The value to use for the weight `name`; `weight` itself when it is not touched.
  virtual Value apply(Scope& scope, const std::string& name, Value weight) const = 0;
  virtual ParameterGroup own_group() const { return {1, 0.0}; }
};

// The names of the scalar inputs c and c0 of an objective.
std::string coefficient_input(const std::string& objective);
std::string constant_input(const std::string& objective);

// What the multi-objective pass did with one weight and one objective: values to look at.
struct TermNodes {
  std::string objective, weight;
  Value value = {};                           // of the objective
  Value coefficient = {};                     // lambda; joint: times what c dR/dw weighs
  Value task_norm = {}, objective_norm = {};  // dynamic
};

struct OwnGradient {
  Value parameter, gradient;
  ParameterGroup group;
};

// The objectives of a step on its weights. The pass has two turns: what takes part in the weighting
// of losses is handed out (joint) and told what it weighs (joined); the rest is added to what came
// of that (add). Moving averages and multipliers are states of the step ("WEIGHT.NAME.task_norm",
// ".norm", ".multiplier").
class ObjectivePass {
 public:
  ObjectivePass(Scope& scope, const std::vector<std::shared_ptr<const Objective>>& objectives,
                const std::vector<ParameterSpec>& specs, const std::vector<Value>& weights);
  // Of objectives of Kind::joint, by the weights.
  std::vector<JointGradient> joint() const;
  // [objective of joint()][weight], as JointGradients::weights.
  void joined(std::span<const std::vector<Value>> weights);
  // gradients[i] belongs to weights[i] and is what the losses come to; the objectives' are added.
  // What a dynamic coefficient compares with is that, whatever other objectives add. Gradients of
  // own parameters are appended to `own`. Throws Error for a joint one that was not joined.
  std::vector<TermNodes> add(std::vector<Value>& gradients, std::vector<OwnGradient>& own);

 private:
  struct Term {
    std::size_t weight;
    WeightTerm made;
    Value joined = {};
  };
  struct Terms {
    std::shared_ptr<const Objective> objective;
    Value c;
    std::vector<Term> terms;
    bool joint() const;
  };
  // Its coefficient; joint: what it weighs in all.
  TermNodes weigh(const Terms& terms, const Term& term, Value gradient, Value& shared);
  TermNodes dynamic(const Terms& terms, const Term& term, Value gradient, Value& shared);

  Scope& scope_;
  std::vector<std::string> names_;  // of the weights
  std::vector<Terms> all_;
};

}  // namespace tessera::nn
