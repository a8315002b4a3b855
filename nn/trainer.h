// Training: one graph per step (forward, objectives, backward, update), one plan, state by name.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/batch_source.h"
#include "core/compile.h"
#include "core/model.h"
#include "nn/module.h"
#include "ops/build.h"

namespace tessera::nn {

// An objective of the weights alone. Its gradient is analytic and joins the weight's update, so it
// costs no backward pass. Scalars it needs are graph inputs, set with Trainer::set.
class WeightObjective {
 public:
  virtual ~WeightObjective() = default;
  virtual std::string name() const = 0;
  // d objective / d weight as a value of the same shape, or none when it does not touch `name`.
  virtual Value gradient(Graph& graph, const std::string& name, Value weight) const = 0;
};

// How a parameter departs from the others.
struct ParameterGroup {
  double lr_scale = 1;                      // times the learning rate
  std::optional<double> weight_decay = {};  // default: OptimizerOptions::weight_decay on weights
};

struct OptimizerOptions {
  enum class Kind { sgd, adam };
  Kind kind = Kind::sgd;
  double momentum = 0.9;
  bool nesterov = true;
  double weight_decay = 0;  // on weights (rank >= 2), not on biases, scales and batch-norm
  ops::AdamOptions adam = {};
  // Scales the gradient of the loss down to this norm over all parameters (Pascanu et al. 2013);
  // 0: no limit. Objectives of the weights are added afterwards.
  double clip_norm = 0;
  // By the parameter's name; null: one group.
  std::function<ParameterGroup(const std::string&)> group = nullptr;
};

// What training does with one parameter under these options. Throws Error for a scale or a decay
// that is negative or not finite.
ParameterGroup group_of(const OptimizerOptions& options, const ParameterSpec& parameter);

struct TrainerOptions {
  std::int64_t batch = 256;
  OptimizerOptions optimizer = {};
  double label_smoothing = 0;
  std::uint64_t seed = 1;
  bool bf16 = false;  // convolutions of the training step in bf16 (CompileOptions::bf16)
  // Parameters that are not trained ("fc1.weight"); their gradients are not computed.
  std::function<bool(const std::string&)> frozen = nullptr;
};

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

// Runs an inference graph (input "x" [batch, ...], output "logits" [batch, classes]) over a data
// set. Plans are compiled once per batch size; a change of the state's values needs no new plan.
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

// x [batch, sample...] -> logits, with the modules in inference form.
Graph inference_graph(const Module& model, const Shape& sample);

class Trainer;
// The trained network: its inference graph and a copy of the parameters and states that it reads.
Model inference_model(const Trainer& trainer);
// Takes over the parameters and states of a dense model of the same network. Throws Error naming
// what the model lacks, or has with another type.
void set_weights(Trainer& trainer, const State& weights);

// The untrained network.
Model initial_model(const Module& model, const Shape& sample, std::uint64_t seed = 1);

// Where in an epoch training stands; a checkpoint stores it.
struct Position {
  std::int64_t epoch = 0, step = 0;
  double loss_sum = 0;  // over the samples of this epoch so far
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
  std::int64_t steps = 0;
};

class Trainer {
 public:
  // Builds the model on samples of this shape and initialises its parameters and states.
  Trainer(std::shared_ptr<const Module> model, Shape sample, std::int64_t classes,
          TrainerOptions options = {});

  State& state() { return *state_; }
  const State& state() const { return *state_; }
  // Trainable parameters by name, in the order of the model.
  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  // What the model keeps besides, such as running statistics; training updates them.
  const std::vector<ParameterSpec>& states() const { return states_; }
  const TrainerOptions& options() const { return options_; }
  const Module& model() const { return *model_; }
  const Shape& sample() const { return sample_; }

  // Adds an objective before training (or drops all); the next step compiles anew.
  void add_objective(std::shared_ptr<const WeightObjective> objective);
  void clear_objectives();
  // A scalar input of the training graph, such as an objective's weight.
  void set(const std::string& input, double value);
  // Momentum (and Adam's moments) back to zero.
  void reset_optimizer();

  // Trains from `position` to the end of its epoch; the learning rate may change by the step
  // (`lr(epoch + fraction)`). Stops after the current step when interrupted() is set.
  // `on_step` may be null.
  EpochReport train_epoch(const BatchSource& data, Position& position,
                          const std::function<double(double)>& lr,
                          const std::function<void(const StepReport&)>& on_step = nullptr);
  std::int64_t steps_per_epoch(const BatchSource& data) const;

  Evaluation evaluate(const BatchSource& data);

  // The graph of one training step, for inspection and benches.
  const Graph& train_graph();
  // The plan of one training step at a batch size.
  const Plan& train_plan(std::int64_t batch);

 private:
  struct Compiled;
  void build();
  Compiled& compiled(std::int64_t batch);

  std::shared_ptr<const Module> model_;
  Shape sample_;
  std::int64_t classes_;
  TrainerOptions options_;
  std::unique_ptr<State> state_ = std::make_unique<State>();  // contexts point to it
  std::vector<ParameterSpec> parameters_, states_;
  std::vector<std::shared_ptr<const WeightObjective>> objectives_;
  std::map<std::string, double> scalars_;
  std::optional<Graph> train_graph_;
  std::map<std::int64_t, std::shared_ptr<Compiled>> compiled_;
  std::optional<Evaluator> evaluator_;
};

}  // namespace tessera::nn
