// QAR: clustering regularizers with trainable representatives. Malchiodi, Ferraretto & Frasca,
// "Quantization-Aware Regularizers for Deep Neural Networks Compression", arXiv 2602.03614: terms
// for each layer pull weights into clusters while training, and the clusters' representatives are
// parameters of the network. The paper's terms in full were not available; the families below are
// those of its relatives, named with each.
#pragma once

#include "quant/method/representatives.h"

namespace tessera::quant {

// R on a weight tensor with n weights, c the representatives (trained parameter
// NAME.representatives, [groups, k]), c(i) the nearest to w_i, n_k the weights nearest to c_k:
//   l1, l2     (1/n) sum_i |w_i - c(i)|^p, p = 1, 2
//   soft       -(tau/n) sum_i ln sum_k exp(-(w_i - c_k)^2 / tau): a mixture of Gaussians of
//   variance
//              tau/2; one EM step on it is one DKM iteration (Cho et al., ICLR 2022, app. G)
//   bins       sum over k with n_k > 0 of (mean_k - c_k)^2 + var_k, which is the mean of
//              (w_i - c_k)^2 over each bin (Bin Regularization, Han et al., ICCV 2021)
//   spectral   1/2 (tr(W'W) - tr(F'WW'F)) / n on the matrix of rows, F its k first left singular
//              vectors, kept for some epochs (Deep k-Means, Wu et al., ICML 2018); it pulls rows
//              into a k-dimensional space and moves representatives by l2
class ClusterRegularizer final : public nn::Objective {
 public:
  enum class Family { l1, l2, soft, bins, spectral };
  static const Names<Family>& families();

  // tau of `soft` is `temperature` times the square of half the mean distance of entries.
  ClusterRegularizer(Family family, const CompressionPlan& plan, nn::Coefficient coefficient,
                     double temperature = 0.5)
      : family_(family), plan_(plan), coefficient_(coefficient), temperature_(temperature) {}
  std::string name() const override { return "qar"; }
  nn::Coefficient coefficient() const override { return coefficient_; }
  std::optional<nn::WeightTerm> term(nn::Scope& scope, const std::string& name,
                                     Value weight) const override;

 private:
  Family family_;
  CompressionPlan plan_;
  nn::Coefficient coefficient_;
  double temperature_;
};

struct QarOptions {
  TrainingSchedule schedule;
  ClusterRegularizer::Family family = ClusterRegularizer::Family::l2;
  double temperature = 0.5;
  // Pull of the regularizer in terms of the task's gradient (Coefficient::dynamic, for each layer),
  // a geometric ramp over the share `ramp_until` of the epochs. Its end is by default 1, which
  // clusters the weights; 0.02 for `spectral`: a pull of 1 into a subspace leaves nothing to learn.
  double ramp_begin = 1e-3, ramp_until = 0.5;
  std::optional<double> ramp_end = {};
  double end() const;
  ForwardStages forward;
};

class Qar final : public TrainedMethod {
 public:
  explicit Qar(QarOptions options) : TrainedMethod(options.schedule), options_(options) {}
  std::string name() const override { return "qar"; }
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
  QarOptions options_;
};

}  // namespace tessera::quant
