// A compression method: what it adds to the training graph, what it does between epochs, and the
// codebooks it ends with. The driver (compress.h) runs every method the same way. All of a method's
// memory lives in the trainer's State, so a checkpoint holds it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nn/trainer.h"
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

class Method {
 public:
  virtual ~Method() = default;
  virtual std::string name() const = 0;
  // Epochs of training, all together.
  virtual std::int64_t epochs() const = 0;
  virtual double learning_rate(double epoch) const = 0;
  // Whether it looks at training data, by training or by calibration.
  virtual bool needs_data() const { return epochs() > 0; }
  // The training data, before begin(); it stays alive until begin() has returned.
  virtual void set_data(const BatchSource& /*data*/) {}
  // Throws Error for a plan that the method cannot carry out, before any work; begin() asks, too.
  virtual void require(const CompressionPlan& /*plan*/) const {}
  // Adds objectives and state to a trained network. When resuming, the state is already there.
  virtual CStepReport begin(nn::Trainer& trainer, const CompressionPlan& plan, bool resuming) = 0;
  // Before the first update of an epoch, a whole number, or where a resume enters it.
  virtual void before_epoch(nn::Trainer& trainer, double epoch) = 0;
  // After an update, which took training from one fractional epoch to the other (the last of an
  // epoch: to a whole number). A C step, when one is due.
  virtual std::optional<CStepReport> after_update(nn::Trainer& trainer, double from, double to) = 0;
  // The current codebooks: what hardening stores.
  virtual Codebooks codebooks(const nn::Trainer& trainer) const = 0;
};

// The state of an alternating method by name: its codebooks as u8 indices and f32 entries.
void store_codebooks(State& state, const Codebooks& codebooks);
Codebooks load_codebooks(const State& state, const CompressionPlan& plan);

// Fits every planned tensor to `weights(name)`; `previous` (may be empty) gives the share of
// changed indices. Fills the report's distances.
Codebooks fit_all(const CompressionPlan& plan,
                  const std::function<std::vector<float>(const std::string&)>& weights,
                  const Codebooks& previous, CStepReport& report);

// The report of codebooks that fit_all did not make: distances of the weights in `state`, and the
// share of indices that differ from those of `before`; all do where it has no such tensor.
CStepReport measured(const State& state, const Codebooks& now, const Codebooks& before = {});

// A copy of the state with every compressed parameter replaced by its decoded codebook: for
// evaluating Delta(Theta) with the dense graph.
State decoded_state(const State& state, const Codebooks& codebooks);

}  // namespace tessera::quant
