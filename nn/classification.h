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
// the first comes first, NaN counts as the largest).
class Classification final : public Task {
 public:
  // `label_smoothing`: the share of the target that training gives to all classes alike (Szegedy et
  // al. 2016). Throws Error unless classes >= 2 and the share is in [0, 1).
  Classification(Shape sample, std::int64_t classes, double label_smoothing = 0);

  std::int64_t classes() const { return classes_; }
  std::string name() const override { return "classification"; }
  std::vector<Field> inputs() const override;
  std::vector<Field> targets() const override;
  void require_outputs(const Values& outputs) const override;
  Value loss(const FieldInputs& fields, const Values& outputs) const override;
  Value training_loss(const FieldInputs& fields, const Values& outputs) const override;
  std::unique_ptr<Meter> meter() const override;
  std::map<std::string, double> settings() const override;
  Value target(const FieldInputs& fields, bool training) const override;
  Value prediction(const Values& outputs) const override;
  Value loss_to(const Values& outputs, Value target) const override;
  void draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                    TensorMap& fields, const std::string& where) const override;

 private:
  Shape sample_;
  std::int64_t classes_;
  double label_smoothing_;
};

// A trainer of a module, x [batch, sample...] -> logits [batch, classes].
Trainer classifier(std::shared_ptr<const Module> module, Shape sample, std::int64_t classes,
                   TrainerOptions options = {}, double label_smoothing = 0);

}  // namespace tessera::nn
