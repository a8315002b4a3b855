// Compression methods. One that trains says what it adds to the training graph, what it does
// between epochs, and the codebooks it ends with; all its memory lives in the trainer's State, so a
// checkpoint holds it. One that works after training is a function. The driver (compress.h) runs
// both; method_list.h names them all.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/trainer.h"
#include "quant/calibrate/calibration.h"
#include "quant/pack/harden.h"
#include "quant/plan/policy.h"

namespace tessera::quant {

struct TensorStep {
  std::string name;
  double distance = 0;  // ||w - Delta|| / ||w||
  double changed = 0;   // share of indices that differ from the last C step
};

// What one C step did.
struct CStepReport {
  std::int64_t step = 0;  // 0 is direct compression of the reference
  double mu = 0;          // penalty weight of the L step before it
  double distance = 0;    // over all compressed weights together
  double changed = 0;
  std::vector<TensorStep> tensors;
};

// A method that trains. begin() asks whether it can carry out the plan, remembers it, and starts.
class Method {
 public:
  virtual ~Method() = default;
  virtual std::string name() const = 0;
  // Epochs of training, all together.
  virtual std::int64_t epochs() const = 0;
  virtual double learning_rate(double epoch) const = 0;
  // What it chose of its schedule when it began, and from what: a line; "" where it chose nothing.
  virtual std::string chosen() const { return ""; }
  // Throws Error for a plan that the method cannot carry out, before any work; begin() asks, too.
  virtual void require(const CompressionPlan& /*plan*/) const {}
  // Adds objectives and state to a trained network. When resuming, the state is already there.
  // `data` is what will train.
  CStepReport begin(nn::Trainer& trainer, const CompressionPlan& plan, const BatchSource& data,
                    bool resuming = false);
  // Before the first update of an epoch, a whole number, or where a resume enters it.
  virtual void before_epoch(nn::Trainer& /*trainer*/, double /*epoch*/) {}
  // After an update, which took training from one fractional epoch to the other (the last of an
  // epoch: to a whole number). A C step, when one is due.
  virtual std::optional<CStepReport> after_update(nn::Trainer& trainer, double from, double to) = 0;
  // The current codebooks: what hardening stores.
  Codebooks codebooks(const nn::Trainer& trainer) const;

 protected:
  // begin() with the plan at hand.
  virtual CStepReport start(nn::Trainer& trainer, const BatchSource& data, bool resuming) = 0;
  const CompressionPlan& plan() const { return plan_; }

 private:
  CompressionPlan plan_;
};

// What a method that works after training sees of a network: all of it but its data.
struct TrainedNetwork {
  const Graph& inference;  // on the task's inputs, with all its outputs
  std::shared_ptr<const nn::Task> task;
  const State& state;
};

struct PostTrained {
  Codebooks codebooks;
  CStepReport report;
};

// A method that works after training: a function of the network, the plan and some samples.
struct PostTraining {
  std::string name;
  std::int64_t samples = 0;  // of the training data that it looks at; 0: none, and gets null
  std::function<PostTrained(const TrainedNetwork& network, const CompressionPlan& plan,
                            const CalibrationSet* samples)>
      run;
  // Throws Error for a plan that the method cannot carry out, before any work. May be unset.
  std::function<void(const CompressionPlan& plan)> require = {};
};

// The state of an alternating method by name: its codebooks as u8 indices and f32 entries.
void store_codebooks(State& state, const Codebooks& codebooks);
Codebooks load_codebooks(const State& state, const CompressionPlan& plan);

// Fits every planned tensor to `weights(name)`; `previous` (may be empty) gives the share of
// changed indices. Fills the report's distances. Several ranks, whose weights are the same, fit a
// tensor each in turn and tell the others.
Codebooks fit_all(const CompressionPlan& plan,
                  const std::function<std::vector<float>(const std::string&)>& weights,
                  const Codebooks& previous, CStepReport& report, const nn::Ranks& ranks = {});

// The report of codebooks that fit_all did not make: distances of the weights in `state`, and the
// share of indices that differ from those of `before`; all do where it has no such tensor.
CStepReport measured(const State& state, const Codebooks& now, const Codebooks& before = {});

// A copy of the state with every compressed parameter replaced by its decoded codebook: for
// evaluating Delta(Theta) with the dense graph.
State decoded_state(const State& state, const Codebooks& codebooks);

}  // namespace tessera::quant
