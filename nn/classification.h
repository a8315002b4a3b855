// One class of several for each sample: cross-entropy, and the share of wrong first guesses.
#pragma once

#include <cstdint>
#include <memory>

#include "nn/task.h"
#include "nn/trainer.h"

namespace tessera::nn {

// Inputs: "x" f32 [sample...]. Targets: "y" s32, in [0, classes). The network gives "logits" f32
// [batch, classes]. Metrics: "error" in percent, "loss" (mean cross-entropy, nats), "correct" and
// "correct5" (samples whose label is the largest logit, and among the five largest; of equal logits
// the first comes first, NaN counts as the largest); from 100 classes on also "top5_error".
class Classification final : public Task {
 public:
  // Throws Error unless classes >= 1.
  Classification(Shape sample, std::int64_t classes);

  std::int64_t classes() const { return classes_; }
  std::string name() const override { return "classification"; }
  std::vector<Field> inputs() const override;
  std::vector<Field> targets() const override;
  void require_outputs(const Values& outputs) const override;
  Value loss(const FieldInputs& fields, const Values& outputs,
             double label_smoothing) const override;
  std::unique_ptr<Meter> meter() const override;
  Value target(const FieldInputs& fields, const Values& outputs,
               double label_smoothing) const override;
  Value prediction(const Values& outputs) const override;
  Value loss_to(const FieldInputs& fields, const Values& outputs, Value target) const override;
  void draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                    TensorMap& fields, const std::string& where) const override;

 private:
  Shape sample_;
  std::int64_t classes_;
};

// A trainer of a network, or a module, x [batch, sample...] -> logits [batch, classes].
Trainer classifier(std::shared_ptr<const Network> network, Shape sample, std::int64_t classes,
                   TrainerOptions options = {});
Trainer classifier(std::shared_ptr<const Module> module, Shape sample, std::int64_t classes,
                   TrainerOptions options = {});

}  // namespace tessera::nn
