// MOCQ: Fan, Guo, Wang & Wang, "Multi-Objective Convex Quantization for Efficient Model
// Compression", IEEE TPAMI 47(4), 2025. Accuracy and a differentiable quantization error are two
// objectives of one training; the error's coefficient follows the gradients' norms, and the
// network's own earlier predictions are the soft targets.
#pragma once

#include "quant/distill.h"
#include "quant/trained_method.h"

namespace tessera::quant {

// The periodic convex error of a weight in its cell,
//     -ln cos(pi/2 u),  u = min(|w - c| / h, 1 - guard),
// c the nearest entry and h the distance from it to the cell's border on w's side: 0 on the entry,
// convex, unbounded at the border. Beyond the outermost entries the parabola that continues it at
// c, (pi^2/8) ((w - c) / h)^2 with h half the mean distance of entries, pulls back. Any codebook,
// one for each tensor or group of rows: state NAME.c_entries (method.h), h outside:
// NAME.cell_width. On a uniform grid inside its range this is the authors' qc(w) = -ln |cos(pi w /
// s)|.
class PeriodicError final : public nn::Objective {
 public:
  explicit PeriodicError(const CompressionPlan& plan, nn::Coefficient coefficient,
                         double guard = 0.02);
  std::string name() const override { return "mocq"; }
  nn::Coefficient coefficient() const override { return coefficient_; }
  std::optional<nn::WeightTerm> term(nn::Scope& scope, const std::string& name,
                                     Value weight) const override;

 private:
  const CompressionPlan plan_;
  nn::Coefficient coefficient_;
  double guard_;
};

// The authors' own form (loss/qc_loss.py of their code): one step s = 0.2 / (2^b - 1) for all
// tensors, -ln |cos(pi x / s)| of x = clamp(w, -0.1 - s/2 + 0.01, 0.1 + s/2 - 0.01), through whose
// clamp the gradient passes. Its poles are not guarded, and it can push outliers outwards
// (methods of a sound form: PeriodicError).
class AuthorsPeriodicError final : public nn::Objective {
 public:
  AuthorsPeriodicError(std::vector<std::string> names, int bits, nn::Coefficient coefficient);
  std::string name() const override { return "mocq"; }
  nn::Coefficient coefficient() const override { return coefficient_; }
  std::optional<nn::WeightTerm> term(nn::Scope& scope, const std::string& name,
                                     Value weight) const override;
  static double step(int bits) { return 0.2 / ((1 << bits) - 1); }
  // k s for k = -2^(b-1) .. 2^(b-1) - 1, what weights are rounded to in the end.
  static std::vector<float> entries(int bits);

 private:
  std::vector<std::string> names_;
  int bits_;
  nn::Coefficient coefficient_;
};

struct MocqOptions {
  TrainingSchedule schedule;
  // authors: their error, lambda and final grid, whatever codebook the plan names (its bits count).
  bool authors = false;
  // Share of the epochs before the error is switched on, and its pull in terms of the task's
  // gradient (Coefficient::dynamic) at the begin and the end of the ramp, which is geometric.
  double start = 0.1, ramp_begin = 1e-2, ramp_end = 3;
  double ramp_until = 0.7;  // share of the epochs
  double guard = 0.02;
  // Entries follow the weights (1-D k-means, exact) until this share of the epochs.
  double refit_until = 0.7;
  DistillOptions distill;
};

class Mocq final : public TrainedMethod {
 public:
  explicit Mocq(MocqOptions options) : TrainedMethod(options.schedule), options_(options) {}
  std::string name() const override { return options_.authors ? "mocq-authors" : "mocq"; }
  // The coefficients c and c0 (nn::Coefficient) at a share of the epochs. authors: c = 10^(n-5), n =
  // 1..5 in five stages between 1/7 and 6/7 of the epochs (their 50 and 300 of 350), 0 outside; c0 =
  // 1e-3 after them.
  double coefficient(double progress) const;
  double constant(double progress) const;

 protected:
  void prepare(nn::Trainer& trainer, const Codebooks& direct) override;
  void attach(nn::Trainer& trainer) override;
  void set_scalars(nn::Trainer& trainer, double progress) override;
  void finish_epoch(nn::Trainer& trainer, std::int64_t epoch) override;
  Codebooks snap(const nn::Trainer& trainer) const override;

 private:
  MocqOptions options_;
};

}  // namespace tessera::quant
