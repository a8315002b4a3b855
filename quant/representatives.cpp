#include "quant/representatives.h"

#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "ops/codebook/nearest.h"

namespace tessera::quant {

namespace {

constexpr const char* kRepresentatives = ".representatives";
constexpr const char* kHard = "forward.hard";
constexpr const char* kLive = "forward.live";

// As TrainedMethod::before_epoch has it, to the bit.
double share(double epoch, std::int64_t epochs) {
  return epoch / static_cast<double>(std::max<std::int64_t>(epochs, 1));
}

}  // namespace

Value representatives(nn::Scope& scope, const TensorPlan& item) {
  return scope.global_param(item.name + kRepresentatives,
                            entries_type(item.shape, *item.choice).shape, nn::Init::constant(0));
}

void set_representatives(State& state, const Codebooks& codebooks) {
  for (const auto& [name, c] : codebooks) {
    state.set(name + kRepresentatives,
              Tensor::from(c.entries, c.format.entries_shape(c.shape, c.k)));
  }
}

Codebooks assign_representatives(const CompressionPlan& plan, const State& state) {
  return assign_all(plan, state, [&](const std::string& name) {
    return state.get(name + kRepresentatives).to_vector<float>();
  });
}

double entry_scale(Value weight) {
  return 1 / std::sqrt(static_cast<double>(weight.shape().numel()));
}

Value RepresentativeForward::apply(nn::Scope& scope, const std::string& name, Value w) const {
  const TensorPlan* item = plan_.find(name);
  if (item == nullptr) return w;
  const Value hard = scope.graph().input(kHard, f32({})),
              live = scope.graph().input(kLive, f32({}));
  const Value c = representatives(scope, *item), fixed = ops::detach(w);
  const double s = entry_scale(w);
  const Value steady = s * c + (1 - s) * ops::detach(c);
  const Value entry = ops::nearest(w, steady, item->choice->group_rows).entry;
  return fixed + live * (w - fixed) + hard * (entry - fixed);
}

bool ForwardStages::hard(double progress, std::int64_t epochs) const {
  const bool last = progress * static_cast<double>(epochs) > static_cast<double>(epochs) - 1.5;
  return hard_from < 1 && (progress >= hard_from || last);
}

void ForwardStages::require(const std::string& method) const {
  check(hard_from >= 1 || hard_from <= finish_from, method, ": weights are held from ", finish_from,
        " of the epochs on, before the forward pass is quantized at ", hard_from);
}

void ForwardStages::set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs) const {
  trainer.set(kHard, hard(progress, epochs) ? 1 : 0);
  trainer.set(kLive, finishing(progress) ? 0 : 1);
}

double ForwardStages::warm_up(double epoch, std::int64_t epochs) const {
  const double whole = std::floor(epoch);
  const bool first =
      hard(share(whole, epochs), epochs) && (whole < 1 || !hard(share(whole - 1, epochs), epochs));
  return first ? epoch - whole : 1;
}

void ForwardStages::start_epoch(nn::Trainer& trainer, std::int64_t epoch,
                                std::int64_t epochs) const {
  if (finishing(share(epoch, epochs)) && (epoch == 0 || !finishing(share(epoch - 1, epochs))))
    trainer.reset_optimizer();
}

}  // namespace tessera::quant
