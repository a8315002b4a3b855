// Quantization-aware training: the forward pass runs on quantized weights, gradients go straight
// through to the weights behind them. The usual rivals, as weight transforms of one method.
#pragma once

#include "quant/method/trained_method.h"

namespace tessera::quant {

class QatRule;  // qat/rule.h: one for each kind, in its own file

class Qat final : public TrainedMethod {
 public:
  Qat(std::string name, const TrainingSchedule& schedule, std::shared_ptr<const QatRule> rule);
  std::string name() const override { return name_; }
  void require(const CompressionPlan& plan) const override;

 protected:
  bool takes(const CodebookSpec& spec) const override;
  void prepare(nn::Trainer& trainer, const Codebooks& direct) override;
  void attach(nn::Trainer& trainer) override;
  void set_scalars(nn::Trainer& trainer, double progress) override;
  void finish_epoch(nn::Trainer& trainer, std::int64_t epoch) override;
  Codebooks snap(const nn::Trainer& trainer) const override;

 private:
  std::string name_;
  std::shared_ptr<const QatRule> rule_;
};

}  // namespace tessera::quant
