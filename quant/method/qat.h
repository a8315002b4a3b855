// Quantization-aware training: the forward pass runs on quantized weights, gradients go straight
// through to the weights behind them. The usual rivals, as weight transforms of one method.
#pragma once

#include "quant/method/trained_method.h"

namespace tessera::quant {

// K = 2^bits levels a tensor, or 3 at 2 bits for the ternary ones.
enum class QatKind {
  ste,   // nearest entry of the plan's codebook, refitted after every epoch; gradient 1
         // (BinaryConnect, Courbariaux et al. 2015, with `--codebook binary-scaled`)
  twn,   // {-a, 0, a}: 0 where |w| <= 0.7 mean |w|, a the mean of the other |w| (Li et al. 2016)
  ttq,   // {-n, 0, p}: 0 where |w| <= 0.05 max |w|, n and p trained (their gradients, sums
         // over all weights, times 1 / sqrt(N) as in LSQ; never negative); the weight's gradient is
         // scaled by n, 1, p (Zhu et al., ICLR 2017)
  lsq,   // s round(clip(w / s, -Qn, Qp)), the step s trained with its gradient times
         // 1 / sqrt(N Qp) (Esser et al., ICLR 2020); s sign(w) at 1 bit
  ewgs,  // s (2 q - 1), q = round(L x) / L, x = clip((w - l) / (u - l), 0, 1), L = 2^bits - 1: the
         // interval [l, u], from 3 standard deviations, and the scale s are trained as LSQ's step;
         // the gradient g of q is g (1 + d sign(g) (x - q)) for x (Lee, Kim & Ham, CVPR 2021)
  dkm,   // soft k-means in the forward pass, differentiated through its iterations (Cho et al.,
         // ICLR 2022)
};
QatKind parse_qat(const std::string& text);  // throws Error
const char* name(QatKind kind);

struct QatOptions {
  QatKind kind = QatKind::lsq;
  TrainingSchedule schedule;
  double ewgs_delta = 1e-3;  // d above, their fixed one; they also take it from the Hessian's trace
  int dkm_iterations = 3;
  // tau as a share of the square of half the mean distance of entries, at the begin and the end
  // (geometric): assignments harden while training.
  double dkm_begin = 1, dkm_end = 0.05;
};

class QatRule;  // one for each kind

class Qat final : public TrainedMethod {
 public:
  explicit Qat(const QatOptions& options);
  std::string name() const override { return quant::name(kind_); }
  void require(const CompressionPlan& plan) const override;

 protected:
  bool takes(const CodebookSpec& spec) const override;
  void prepare(nn::Trainer& trainer, const Codebooks& direct) override;
  void attach(nn::Trainer& trainer) override;
  void set_scalars(nn::Trainer& trainer, double progress) override;
  void finish_epoch(nn::Trainer& trainer, std::int64_t epoch) override;
  Codebooks snap(const nn::Trainer& trainer) const override;

 private:
  QatKind kind_;
  std::shared_ptr<const QatRule> rule_;
};

}  // namespace tessera::quant
