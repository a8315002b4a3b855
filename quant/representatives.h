// Codebook entries as parameters of the network, and the forward pass that trains them.
#pragma once

#include "quant/trained_method.h"

namespace tessera::quant {

// The trained parameter NAME.representatives, [groups, k] in any order, of a planned weight.
Value representatives(nn::Scope& scope, const TensorPlan& item);
void set_representatives(State& state, const Codebooks& codebooks);
// Every weight on the nearest of its representatives.
Codebooks assign_representatives(const CompressionPlan& plan, const State& state);

// A representative's gradient is a sum over its weights. With this factor, 1 / sqrt(n), its steps
// are of the size of theirs, as LSQ scales its step's gradient.
double entry_scale(Value weight);

// The forward pass on w + hard (c(i) - w), c(i) the representative nearest to w_i: the scalar input
// "forward.hard" moves it from the weights (0) to their representatives (1). Gradients reach w
// unchanged (straight-through) times the input "forward.live", and c_k as the sum over its weights
// times hard and entry_scale: the "cumulative gradient" of Marino et al., ICPR 2020.
class RepresentativeForward final : public nn::WeightTransform {
 public:
  explicit RepresentativeForward(const CompressionPlan& plan) : plan_(plan) {}
  Value apply(nn::Scope& scope, const std::string& name, Value weight) const override;

 private:
  CompressionPlan plan_;
};

// When the forward pass is quantized, as shares of the epochs.
struct ForwardStages {
  double hard_from = 0.1;  // from here on the representatives, at least in the last epoch; 1: never
  double finish_from = 0.9;  // from here only representatives, biases and scales are trained

  // `progress` is the share of the epochs that is behind: 0, 1/epochs, ...
  bool hard(double progress, std::int64_t epochs) const;
  bool finishing(double progress) const { return hard_from < 1 && progress >= finish_from; }
  // What the learning rate is multiplied with: 0 to 1 over the first epoch of the quantized pass.
  // At 1 bit that pass is another network, whose first gradients are many times the reference's.
  double warm_up(double epoch, std::int64_t epochs) const;
  // Throws Error where weights would be held before they have seen the quantized pass.
  void require(const std::string& method) const;
  void set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs) const;
  // Called before every epoch: the last stage holds the weights, so what they had of momentum goes.
  void start_epoch(nn::Trainer& trainer, std::int64_t epoch, std::int64_t epochs) const;
};

}  // namespace tessera::quant
