// MOCQ as its authors' code has it (main.py, loss/qc_loss.py, quant_test.py): one uniform grid for
// all tensors, whose error is minimised beside the task from scratch, and one rounding at the end.
// mocq.h is the sound form of the method.
#pragma once

#include "quant/method/distill.h"
#include "quant/method/trained_method.h"

namespace tessera::quant {

// -ln |cos(pi x / s)| of x = clamp(w, -0.1 - s/2 + 0.01, 0.1 + s/2 - 0.01), through whose clamp the
// gradient passes; s = 0.2 / (2^b - 1) for all tensors. Its poles are not guarded, and it can push
// outliers outwards.
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

struct MocqAuthorsOptions {
  TrainingSchedule schedule;
  DistillOptions distill;
};

// The grid follows from the bits of the plan's codebooks, which must agree.
class MocqAuthors final : public TrainedMethod {
 public:
  explicit MocqAuthors(MocqAuthorsOptions options)
      : TrainedMethod(options.schedule), options_(options) {}
  std::string name() const override { return "mocq-authors"; }
  // The coefficients c and c0 (nn::Coefficient) at a share of the epochs: c = 10^(n-5), n = 1..5 in
  // five stages between 1/7 and 6/7 of the epochs (their 50 and 300 of 350), 0 outside; c0 = 1e-3
  // after them.
  static double coefficient(double progress);
  static double constant(double progress);
  void require(const CompressionPlan& plan) const override;

 protected:
  bool takes(const CodebookSpec& spec) const override {
    return TrainedMethod::takes(spec) || (spec.is_uniform() && spec.scale_block() == 0);
  }
  void prepare(nn::Trainer& trainer, const Codebooks& direct) override;
  void attach(nn::Trainer& trainer) override;
  void set_scalars(nn::Trainer& trainer, double progress) override;
  void finish_epoch(nn::Trainer& trainer, std::int64_t epoch) override;
  Codebooks snap(const nn::Trainer& trainer) const override;

 private:
  MocqAuthorsOptions options_;
};

}  // namespace tessera::quant
