// The next token of each token of a text: cross-entropy, and perplexity.
#pragma once

#include <cstdint>
#include <memory>

#include "nn/task.h"
#include "nn/trainer.h"

namespace tessera::nn {

// Inputs: "x" s32 [steps], in [0, tokens). Targets: "y" s32 [steps], the next tokens, and "weight"
// f32 [steps], 1 where there is one and 0 behind the end of a text. The network gives "logits" f32
// [steps * batch, tokens], row t * batch + b for step t of sample b. The loss is the mean over
// tokens of weight. Metrics, over those: "perplexity" (e^loss), "loss" (mean cross-entropy, nats),
// "bits" (of a token), "tokens".
class LanguageModeling final : public Task {
 public:
  // Throws Error unless steps >= 1 and tokens >= 1.
  LanguageModeling(std::int64_t steps, std::int64_t tokens);

  std::int64_t steps() const { return steps_; }
  std::int64_t tokens() const { return tokens_; }
  std::string name() const override { return "language model"; }
  std::vector<Field> inputs() const override;
  std::vector<Field> targets() const override;
  Unit unit() const override { return {"tokens", steps_}; }
  std::shared_ptr<const Task> stepwise() const override;
  void require_outputs(const Values& outputs) const override;
  Value loss(const FieldInputs& fields, const Values& outputs,
             double label_smoothing) const override;
  // "nats" f32 [batch]: the summed cross-entropy of a sample's tokens.
  Values measured(const FieldInputs& fields, const Values& outputs) const override;
  std::unique_ptr<Meter> meter() const override;
  // Rows as the logits'; those without weight are zeros.
  Value target(const FieldInputs& fields, const Values& outputs,
               double label_smoothing) const override;
  Value prediction(const Values& outputs) const override;
  Value loss_to(const FieldInputs& fields, const Values& outputs, Value target) const override;
  void draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                    TensorMap& fields, const std::string& where) const override;

 private:
  std::int64_t steps_, tokens_;
};

}  // namespace tessera::nn
