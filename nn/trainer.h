// Training: one graph per step (forward, objectives, backward, update), one plan, state by name.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/batch_source.h"
#include "core/compile.h"
#include "core/model.h"
#include "nn/evaluator.h"
#include "nn/loss_weighting.h"
#include "nn/objective.h"
#include "nn/ranks.h"

namespace tessera::nn {

struct TrainerOptions {
  std::int64_t batch = 256;  // of all ranks together
  OptimizerOptions optimizer = {};
  double label_smoothing = 0;  // Task::loss
  std::uint64_t seed = 1;
  // How the task's losses share a step. A loss set in place of the task's is one loss.
  LossWeighting weighting = {};
  // What happens to the gradients that come of the losses before objectives (but for joint ones)
  // and the optimizer see them, in this order; OptimizerOptions::clip_norm comes last.
  std::vector<GradientTransform> gradients = {};
  bool bf16 = false;  // convolutions of the training step in bf16 (CompileOptions::bf16)
  // Parameters that are not trained ("fc1.weight"); their gradients are not computed, and a plan
  // of compression leaves them as they are (Policy::frozen).
  std::function<bool(const std::string&)> frozen = nullptr;
  // With several ranks all of them train the same network: each takes its rows of every batch, and
  // gradients, losses, batch-norm's moments, memories of samples and random numbers are those of
  // the joint batch, so that the states stay equal. `batch` must be a multiple of their number. Of
  // the last batch of an epoch up to ranks - 1 samples are left out, so that all have as many.
  Ranks ranks = {};
};

class Trainer;
// The trainer's network in inference form, and with what is trained.
Graph inference_graph(const Trainer& trainer);
// The trained network: its inference graph and a copy of the parameters and states that it reads.
Model inference_model(const Trainer& trainer);
// Takes over the parameters and states of a dense model of the same network. Throws Error naming
// what the model lacks, or has with another type.
void set_weights(Trainer& trainer, const State& weights);

// Where in an epoch training stands; a checkpoint stores it.
struct Position {
  std::int64_t epoch = 0, step = 0;
  double loss_sum = 0;  // over the samples of this epoch so far
  double seconds = 0;   // of training before this process went on with it
};

struct StepReport {
  std::int64_t epoch, step, steps;
  double loss;  // mean over the epoch so far
  double lr;
};

struct EpochReport {
  bool finished = false;  // false: interrupted, position says where
  double loss = 0;        // mean over the epoch
  double seconds = 0;
  double data_seconds = 0;  // of these: until the batches were there
  // Several ranks: what this one sent in the steps, and how long it waited for what others sent.
  Traffic sent = {};
  std::int64_t steps = 0;
};

// What a training step is made of besides the network.
struct StepTerms {
  std::vector<std::shared_ptr<const Objective>> objectives = {};
  std::shared_ptr<const TaskLoss> task_loss = nullptr;  // null: the task's own
  std::vector<std::shared_ptr<const WeightTransform>> transforms = {};
  bool empty() const { return objectives.empty() && !task_loss && transforms.empty(); }
};

// One objective on one weight, as numbers; NaN where there is none.
struct TermReport {
  std::string objective, weight;
  double value, coefficient, task_norm, objective_norm;
};

class Trainer {
 public:
  // Builds the network on the task's inputs and initialises its parameters and states. Throws Error
  // where the network does not give what the task compares. Of a classifier: nn/classification.h.
  Trainer(std::shared_ptr<const Network> network, std::shared_ptr<const Task> task,
          TrainerOptions options = {});

  State& state() { return *state_; }
  const State& state() const { return *state_; }
  // Trainable parameters by name, in the order of the model.
  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  // What the model keeps besides, such as running statistics; training updates them.
  const std::vector<ParameterSpec>& states() const { return states_; }
  const TrainerOptions& options() const { return options_; }
  const Network& network() const { return *network_; }
  const std::shared_ptr<const Task>& task() const { return task_; }

  // What is minimised besides the task's loss, instead of it, and with what in place of the
  // weights. The next step compiles anew; parameters and states that these add start at their
  // initial values unless the state has them already. Of several transforms the one added last is
  // next to the weight, the others work on what it gives. clear_objectives() drops all of it.
  void add_objective(std::shared_ptr<const Objective> objective);
  void set_task_loss(std::shared_ptr<const TaskLoss> loss);
  void add_weight_transform(std::shared_ptr<const WeightTransform> transform);
  void clear_objectives() { set_terms({}); }
  // All of it at once: whoever adds for a while puts back what was there before.
  const StepTerms& terms_set() const { return terms_set_; }
  void set_terms(StepTerms terms);
  // A scalar input of the training graph, such as an objective's weight.
  void set(const std::string& input, double value);
  // The optimizer's moments back to zero.
  void reset_optimizer();
  // What objectives remember between steps (averages of norms, multipliers) back to its start.
  void reset_objectives();

  // Trains from `position` to the end of its epoch; the learning rate may change by the step
  // (`lr(epoch + fraction)`; null is an Error). Stops after the current step when interrupted() is
  // set. `on_step` may be null.
  EpochReport train_epoch(const BatchSource& data, Position& position,
                          const std::function<double(double)>& lr,
                          const std::function<void(const StepReport&)>& on_step = nullptr);
  std::int64_t steps_per_epoch(const BatchSource& data) const;

  // ---- several ranks; alone each is what it says of one ----
  const Ranks& ranks() const { return options_.ranks; }
  // Whether any rank says so; all of them ask.
  bool any_rank(bool mine) const {
    return ranks().alone() ? mine : any_of(*ranks().communicator, mine);
  }
  // The state as a checkpoint holds it, and back; all ranks call it (nn/ranks.h).
  State whole_state();
  void take_whole_state(State state);
  // Ranks agree with each step on whether to save after the next one: what this one proposes, and
  // what they agreed on.
  void propose_save(bool yes) { propose_save_ = yes; }
  bool save_agreed() const { return save_agreed_; }
  // Whether the last train_epoch() was ended by a CommunicationError that left the states as the
  // last whole step did.
  bool unharmed() const { return unharmed_; }

  Evaluation evaluate(const BatchSource& data);

  // Every objective on every weight it touches, after the last step: its value at the weights as
  // they are now, the coefficient of that step, and the norms that decided it. Empty before the
  // first step and without objectives.
  std::vector<TermReport> terms();

  // What weighed the losses in the last step: their values ("loss.NAME"), weights and cosines
  // (JointGradients::shown). Empty before the first step and where nothing weighs them.
  std::vector<std::pair<std::string, double>> weighting() const;

  // The graph of one training step, for inspection and benches.
  const Graph& train_graph();
  // The plan of one training step at a batch size.
  const Plan& train_plan(std::int64_t batch);

 private:
  struct Compiled;
  struct TermValues;
  struct Trained;
  // The step's graph, in this order: the losses, their gradients, the objectives, the updates.
  void build();
  StepBuilder begin_step(Graph& graph, Scope& scope,
                         std::map<std::string, ParameterGroup>& made_by_transforms) const;
  std::vector<NamedLoss> add_losses(StepBuilder& step) const;
  // Of the losses, and of joint objectives, by what is trained.
  void add_gradients(Scope& scope, const std::vector<NamedLoss>& losses, Value total, Value loss,
                     ObjectivePass& objectives, std::vector<Trained>& trained);
  void show(Graph& graph, const Shown& shown);  // outputs that weighting() reads
  void add_objectives(Graph& graph, ObjectivePass& objectives, std::size_t weights,
                      std::vector<Trained>& trained);
  void add_updates(Graph& graph, const std::vector<Trained>& trained) const;
  // What the step has besides the model: its start in the State, its names in own_.
  void keep_own(Scope& scope);
  bool is_models(const std::string& name) const;
  void set_scalars(const Plan& plan, RunContext& context) const;
  void drop_plans();
  std::vector<GradientTransform> gradient_transforms() const;
  // Means over the ranks in place of the gradients, and of the values in `also`, which are exact.
  void average(Scope& scope, std::vector<Value>& gradients, const std::vector<std::string>& names,
               std::vector<Value>& also);
  std::vector<Value> average_bucket(Scope& scope, const std::vector<Value>& values,
                                    std::vector<std::int64_t> exact);
  void share_outcome(Graph& graph, const std::vector<Value>& also);
  void run_step(Compiled& step);
  // Throws Error unless the plans of all ranks exchange the same in the same order; all call it.
  void require_same_exchanges(const Plan& plan) const;
  Traffic traffic() const;
  // What the step carries from batch to batch lives in the State, "carried.NAME", so that a
  // checkpoint has it.
  void carry(Compiled& step, bool anew);
  bool is_frozen(const std::string& name) const { return options_.frozen && options_.frozen(name); }
  Compiled& compiled(std::int64_t batch);

  std::shared_ptr<const Network> network_;
  std::shared_ptr<const Task> task_;
  TrainerOptions options_;
  std::unique_ptr<State> state_ = std::make_unique<State>();  // contexts point to it
  std::vector<ParameterSpec> parameters_, states_;
  StepTerms terms_set_;
  std::vector<ParameterSpec> own_, own_states_;             // of these, once built
  std::vector<std::pair<std::string, std::string>> terms_;  // (objective, weight), once built
  std::vector<std::string> shown_;                          // of the weighting, once built
  std::shared_ptr<TermValues> values_;                      // plan of the terms' values
  Compiled* last_ = nullptr;                                // that ran last
  std::map<std::string, double> scalars_;
  Traffic sent_;             // in the steps of this epoch
  std::size_t buckets_ = 0;  // of gradients whose code loses something, once built
  bool propose_save_ = false, save_agreed_ = false, stop_agreed_ = false, unharmed_ = true;
  std::optional<Graph> train_graph_;
  std::map<std::int64_t, std::shared_ptr<Compiled>> compiled_;
  std::optional<Evaluator> evaluator_;
};

}  // namespace tessera::nn
