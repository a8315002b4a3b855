// Codebook entries as parameters of the network, and the forward pass that trains them.
#pragma once

#include "quant/method/trained_method.h"

namespace tessera::quant {

// The entries of a planned weight that are trained, [groups, k] in any order. Free ones are the
// parameter NAME.representatives themselves. Those of a scaled codebook, such as a uniform grid,
// are its levels times a scale: the parameter is then [groups, 1], the root mean square of the
// entries, so that its steps are of their size.
Value representatives(nn::Scope& scope, const TensorPlan& item);
// The parameter they are made of: what an objective that pulls them names as its own.
Value representative_parameter(nn::Scope& scope, const TensorPlan& item);
void set_representatives(const CompressionPlan& plan, State& state, const Codebooks& codebooks);
// With as many entries in every group as the plan says: the last one is repeated where a fit found
// fewer that differ.
Codebooks with_all_entries(const CompressionPlan& plan, Codebooks codebooks);
// Whether representatives can take such a codebook.
bool takes_representatives(const CodebookSpec& spec);
// Every weight on the nearest of its representatives.
Codebooks assign_representatives(const CompressionPlan& plan, const State& state);

// A representative's gradient is a sum over its weights. With this factor, one by the weights of an
// entry on average, it moves as the mean of its weights does, which is how k-means of the moved
// weights would move it. Larger steps (1 / sqrt(n), as LSQ has it for a step) throw the entries of
// large layers far off at the rates that train networks.
double entry_scale(Value weight, const TensorPlan& item);

// The forward pass on w + hard (c(i) - w), c(i) the representative nearest to w_i: the scalar input
// "forward.hard" moves it from the weights (0) to their representatives (1). Gradients reach w
// unchanged (straight-through) times the input "forward.live", and c_k as the sum over its weights
// times hard and entry_scale: the "cumulative gradient" of Marino et al., ICPR 2020.
class RepresentativeForward final : public nn::WeightTransform {
 public:
  explicit RepresentativeForward(const CompressionPlan& plan) : plan_(plan) {}
  Value apply(nn::Scope& scope, const std::string& name, Value weight) const override;
  // `gain` is what gradients that reach w are multiplied with.
  static void set(nn::Trainer& trainer, bool hard, bool live, double gain = 1);

 private:
  CompressionPlan plan_;
};

// What gradients to coded weights are multiplied with in a training of so many updates:
// sqrt(full / updates), at most 4, at least 1. A weight changes its code once it has crossed half a
// cell, and the rates at which a reference is trained do not get it there in some hundred updates.
// 0 for `full`: 1.
double short_training_gain(double full, double updates);
// The setting "full-updates" of those that train on representatives.
inline constexpr const char* kFullUpdates = "full-updates";
Setting full_updates_setting();

// When the forward pass is quantized, as shares of the epochs.
struct ForwardStages {
  double hard_from = 0;  // from here on the representatives, at least in the last epoch; 1: never
  double finish_from = 0.9;  // from here only representatives, biases and scales are trained
  // What weighs the objective that pulls weights to their representatives.
  nn::Coefficient::Kind coefficient = nn::Coefficient::Kind::dynamic;

  double full_updates = 0;  // of short_training_gain

  // `progress` is the share of the epochs that is behind: 0, 1/epochs, ...
  bool hard(double progress, std::int64_t epochs) const;
  bool finishing(double progress) const { return hard_from < 1 && progress >= finish_from; }
  // What the learning rate is multiplied with: 0 to 1 over the first tenth of the quantized epochs.
  // At 1 bit that pass is another network, whose first gradients are many times the reference's.
  double warm_up(double epoch, std::int64_t epochs) const;
  // Throws Error where weights would be held before they have seen the quantized pass.
  void require(const std::string& method) const;
  void set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs,
                   double updates) const;
  // Called before every epoch: the last stage holds the weights, so what they had of momentum goes.
  void start_epoch(nn::Trainer& trainer, std::int64_t epoch, std::int64_t epochs) const;
};

inline constexpr const char* kCoefficient = "coefficient";
// By the settings "hard-from", "finish-from" and "coefficient" of the methods' list; what else
// configurations say.
std::vector<Setting> forward_settings();
ForwardStages forward_stages(const Settings& settings);
void describe_forward(const Settings& settings, Config& config);
// Throws Error naming the flags where weights would be held before they have seen the quantized
// pass.
void validate_forward(const Settings& settings);

}  // namespace tessera::quant
