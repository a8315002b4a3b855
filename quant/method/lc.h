// Direct compression, iterated direct compression, and the learning-compression algorithm
// (Carreira-Perpinan & Idelbayev 2017, "Model compression as constrained optimization, Part II:
// quantization", arXiv 1707.04319).
#pragma once

#include "core/settings.h"
#include "quant/method/method.h"

namespace tessera::quant {

// DC: quantize the reference once.
PostTraining direct_compression();

// Steps of some epochs of training, or of a part of one, each followed by a C step; the first may
// be longer. A C step comes after the update that completes its step.
struct Alternation {
  int steps = 40;
  double epochs = 20;  // of one step
  double first_epochs = 40;
  double lr = 0.09;     // of the first step
  double lr_decay = 1;  // per step
  // Over all steps it falls to this share, times the decay, by half a cosine; 1: it does not.
  double lr_fall = 1;
  // Within a step the rate falls to this share of its start by half a cosine; 1 keeps it constant.
  double lr_final = 1;
  bool reset_momentum = true;  // at the start of every step

  // Training takes whole epochs; the last step lasts to their end.
  std::int64_t total_epochs() const;
  // Steps that are complete at this fractional epoch: also the 0-based index of the one under way.
  std::int64_t complete(double epoch) const;
  double rate(double epoch) const;
};

// iDC: train freely, quantize, go on from the quantized weights. No penalty; cycles or drifts.
class IteratedDirectCompression final : public Method {
 public:
  explicit IteratedDirectCompression(Alternation alternation) : alternation_(alternation) {}
  std::string name() const override { return "idc"; }
  std::int64_t epochs() const override { return alternation_.total_epochs(); }
  double learning_rate(double epoch) const override { return alternation_.rate(epoch); }
  std::optional<CStepReport> after_update(nn::Trainer& trainer, double from, double to) override;

 private:
  CStepReport start(nn::Trainer& trainer, const BatchSource& data, bool resuming) override;

  Alternation alternation_;
};

// What is 0 is chosen from what training can do: SGD at the rates lr_i takes a weight that a
// penalty mu alone moves the share 1 - exp(-mu T) of the way to its target, T = sum lr_i / (1 -
// momentum).
struct LcOptions {
  Alternation alternation;
  double mu = 0;         // of the first L step; 0: kFirstPull / T, more where the rate has fallen
  double mu_growth = 0;  // per step; 0: to kLastPull / kFirstPull in all
  // So many of the last updates, at least a fifth of all, run on the codebooks, where
  // representatives (representatives.h) can: gradients go straight through to the weights and to
  // the entries, each update takes the nearest entries. In the last tenth of all epochs the weights
  // are held, unless there are fewer updates than this. 0: there is no such part.
  double finish = 0;
  double full_updates = 0;  // of short_training_gain, there
  int least_updates = 0;    // of a step: with fewer there are fewer steps
  bool augmented = true;    // false: quadratic penalty, no multipliers
  bool clip_rate = true;    // lr <= 1 / mu: gradient descent on the penalty needs lr < 2 / mu
};

// LC: minimise L(w) + mu/2 ||w - Delta(Theta) - lambda/mu||^2 over w by SGD (L step), then over
// Theta exactly (C step), then lambda -= mu (w - Delta); mu grows geometrically. How little a
// reference that has converged tells of its loss at one bit is made up for at the end (finish).
class LearningCompression final : public Method {
 public:
  static constexpr double kFirstPull = 6, kLastPull = 93;  // mu T

  explicit LearningCompression(LcOptions options) : options_(options) {}
  std::string name() const override { return options_.augmented ? "lc" : "lc-qp"; }
  std::int64_t epochs() const override { return epochs_; }
  double learning_rate(double epoch) const override;
  // What was chosen is known once it has begun.
  double mu(std::int64_t step) const;
  std::string chosen() const override { return chosen_; }
  void before_epoch(nn::Trainer& trainer, double epoch) override;
  std::optional<CStepReport> after_update(nn::Trainer& trainer, double from, double to) override;

 private:
  CStepReport start(nn::Trainer& trainer, const BatchSource& data, bool resuming) override;
  void set_targets(State& state, const Codebooks& codebooks, double mu) const;
  void choose(const nn::Trainer& trainer, const BatchSource& data);
  // Inputs of the training graph for what comes after so many steps.
  void enter(nn::Trainer& trainer, std::int64_t step) const;
  CStepReport quantized_step(nn::Trainer& trainer, std::int64_t step) const;
  double start_of(std::int64_t step) const;  // in epochs

  LcOptions options_;
  std::int64_t epochs_ = options_.alternation.total_epochs();
  double first_mu_ = options_.mu;
  bool with_rate_ = false;  // mu grows as the rate falls
  // The first step on the codebooks, and of those the first that holds the weights.
  std::int64_t quantized_ = kNever, held_ = kNever;
  static constexpr std::int64_t kNever = std::int64_t{1} << 40;
  double gain_ = 1;  // of gradients to weights on the codebooks
  std::string chosen_;
};

// The L step's penalty on planned tensors, 1/2 ||w - target||^2, target a state NAME.lc_target; its
// coefficient is mu.
class QuadraticPenalty final : public nn::Objective {
 public:
  explicit QuadraticPenalty(const CompressionPlan& plan);
  std::string name() const override { return "lc"; }
  std::optional<nn::WeightTerm> term(nn::Scope& scope, const std::string& name,
                                     Value weight) const override;

 private:
  std::vector<std::string> names_;
};

// By the settings of the list (method_list.h): "lc-steps", "mu", ...
Alternation alternation(const Settings& settings);
LcOptions lc_options(const Settings& settings);

}  // namespace tessera::quant
