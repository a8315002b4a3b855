// MOCQ: Fan, Guo, Wang & Wang, "Multi-Objective Convex Quantization for Efficient Model
// Compression", IEEE TPAMI 47(4), 2025. Accuracy and a differentiable quantization error are two
// objectives of one training; the error's coefficient follows the gradients' norms, and the
// network's own earlier predictions are the soft targets.
#pragma once

#include "quant/method/distill.h"
#include "quant/method/representatives.h"

namespace tessera::quant {

// The periodic convex error of a weight in its cell,
//     -(2 h / pi)^2 ln cos(pi/2 u),  u = min(|w - c| / h, 1 - guard),
// c the nearest entry and h the distance from it to the cell's border on w's side: 1/2 (w - c)^2
// near the entry, convex, unbounded at the border. Beyond the outermost entries 1/2 (w - c)^2 goes
// on and pulls back. Any codebook, one for each tensor or group of rows, as representatives
// (representatives.h). On a uniform grid inside its range this is the authors' -ln |cos(pi w / s)|
// times (s / pi)^2: in units of LC's penalty, so that one coefficient suits layers of any scale.
class PeriodicError final : public nn::Objective {
 public:
  explicit PeriodicError(const CompressionPlan& plan, nn::Coefficient coefficient,
                         double guard = 0.3);
  std::string name() const override { return "mocq"; }
  nn::Coefficient coefficient() const override { return coefficient_; }
  std::optional<nn::WeightTerm> term(nn::Scope& scope, const std::string& name,
                                     Value weight) const override;

 private:
  const CompressionPlan plan_;
  nn::Coefficient coefficient_;
  double guard_;
};

struct MocqOptions {
  TrainingSchedule schedule;
  // lambda = penalty + pull |dL/dw| / |dR/dw| for each layer; both grow geometrically between these
  // shares of the epochs. A converged network has hardly a gradient to measure by: there the
  // penalty makes the begin.
  double start = 0.05, ramp_until = 0.8;
  double penalty_begin = 1e-6, penalty_end = 1e-5;
  double pull_begin = 1e-3, pull_end = 1;
  double guard = 0.3;
  // Entries follow the weights (exact 1-D k-means) until the forward pass runs on them, then their
  // gradients.
  ForwardStages forward;
  DistillOptions distill;
};

class Mocq final : public TrainedMethod {
 public:
  explicit Mocq(MocqOptions options) : TrainedMethod(options.schedule), options_(options) {}
  std::string name() const override { return "mocq"; }
  // The coefficients c and c0 (nn::Coefficient) at a share of the epochs.
  double coefficient(double progress) const;
  double constant(double progress) const;
  double learning_rate(double epoch) const override;
  void require(const CompressionPlan& plan) const override;

 protected:
  bool takes(const CodebookSpec& spec) const override { return takes_representatives(spec); }
  void prepare(nn::Trainer& trainer, const Codebooks& direct) override;
  void attach(nn::Trainer& trainer) override;
  void start_epoch(nn::Trainer& trainer, std::int64_t epoch) override;
  void set_scalars(nn::Trainer& trainer, double progress) override;
  void finish_epoch(nn::Trainer& trainer, std::int64_t epoch) override;
  Codebooks snap(const nn::Trainer& trainer) const override;

 private:
  double ramp(double progress) const;

  MocqOptions options_;
};

}  // namespace tessera::quant
