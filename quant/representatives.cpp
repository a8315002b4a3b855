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

void ForwardStages::set_scalars(nn::Trainer& trainer, double progress) const {
  trainer.set(kHard, hard(progress) ? 1 : 0);
  trainer.set(kLive, finishing(progress) ? 0 : 1);
}

double ForwardStages::warm_up(double epoch, std::int64_t epochs) const {
  const double whole = std::floor(epoch),
               all = static_cast<double>(std::max<std::int64_t>(epochs, 1));
  const bool first = hard(whole / all) && (whole < 1 || !hard((whole - 1) / all));
  return hard_from < 1 && first ? epoch - whole : 1;
}

void ForwardStages::start_epoch(nn::Trainer& trainer, std::int64_t epoch,
                                std::int64_t epochs) const {
  const auto progress = [&](std::int64_t e) {
    return static_cast<double>(e) / static_cast<double>(std::max<std::int64_t>(epochs, 1));
  };
  if (finishing(progress(epoch)) && (epoch == 0 || !finishing(progress(epoch - 1))))
    trainer.reset_optimizer();
}

}  // namespace tessera::quant
