#include "quant/method/representatives.h"

#include <algorithm>
#include <cmath>

#include "ops/build.h"
#include "ops/codebook/nearest.h"

namespace tessera::quant {

namespace {

constexpr const char* kRepresentatives = ".representatives";
constexpr const char* kHard = "forward.hard";
constexpr const char* kLive = "forward.live";
constexpr double kWarmUp = 0.1;  // of the epochs of the quantized pass
constexpr double kMostGain = 4;
constexpr double kRounding = 1e-9;  // of epochs that are shares of others

bool is_scaled(const TensorChoice& choice) {
  return choice.spec.kind() == CodebookSpec::Kind::kScaled;
}

float root_mean_square(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return static_cast<float>(std::sqrt(sum / static_cast<double>(values.size())));
}

// The levels of a scaled codebook, of root mean square 1.
std::vector<float> unit_levels(const CodebookSpec& spec) {
  std::vector<float> out = spec.entries();
  const float size = root_mean_square(out);
  for (float& level : out) level /= size;
  return out;
}

// Of the parameter that a weight's representatives are made of.
Shape parameter_shape(const TensorPlan& item) {
  Shape shape = entries_type(item.shape, *item.choice).shape;
  if (is_scaled(*item.choice)) shape = {shape[0], 1};
  return shape;
}

// As TrainedMethod::before_epoch has it, to the bit.
double share(double epoch, std::int64_t epochs) {
  return epoch / static_cast<double>(std::max<std::int64_t>(epochs, 1));
}

}  // namespace

Value representative_parameter(nn::Scope& scope, const TensorPlan& item) {
  return scope.global_param(item.name + kRepresentatives, parameter_shape(item),
                            nn::Init::constant(0));
}

Value representatives(nn::Scope& scope, const TensorPlan& item) {
  const Value parameter = representative_parameter(scope, item);
  if (!is_scaled(*item.choice)) return parameter;
  std::vector<Value> entries;
  for (const float level : unit_levels(item.choice->spec)) entries.push_back(parameter * level);
  return ops::concat(entries, 1);
}

void set_representatives(const CompressionPlan& plan, State& state, const Codebooks& codebooks) {
  for (const auto& [name, c] : codebooks) {
    Tensor start = Tensor::from(c.entries, c.format.entries_shape(c.shape, c.k));
    if (is_scaled(*plan.find(name)->choice)) {
      std::vector<float> sizes;
      for (std::size_t first = 0; first < c.entries.size(); first += static_cast<std::size_t>(c.k))
        sizes.push_back(root_mean_square(std::span(c.entries).subspan(first, c.k)));
      start = Tensor::from(sizes, Shape{static_cast<std::int64_t>(sizes.size()), 1});
    }
    state.set(name + kRepresentatives, start);
  }
}

Codebooks with_all_entries(const CompressionPlan& plan, Codebooks codebooks) {
  for (auto& [name, c] : codebooks) {
    const auto k = static_cast<std::size_t>(plan.find(name)->choice->spec.size());
    const auto had = static_cast<std::size_t>(c.k);
    if (had == k) continue;
    std::vector<float> padded;
    for (std::size_t g = 0; g < c.entries.size(); g += had) {
      for (std::size_t j = 0; j < k; ++j) padded.push_back(c.entries[g + std::min(j, had - 1)]);
    }
    c.entries = std::move(padded);
    c.k = static_cast<std::int64_t>(k);
  }
  return codebooks;
}

bool takes_representatives(const CodebookSpec& spec) {
  using Kind = CodebookSpec::Kind;
  return spec.kind() == Kind::kAdaptive ||
         (spec.kind() == Kind::kScaled && spec.scale_block() == 0);
}

Codebooks assign_representatives(const CompressionPlan& plan, const State& state) {
  return assign_all(plan, state, [&](const std::string& name) {
    const TensorChoice& choice = *plan.find(name)->choice;
    const auto parameter = state.get(name + kRepresentatives).to_vector<float>();
    if (!is_scaled(choice)) return parameter;
    std::vector<float> entries;
    for (const float size : parameter) {
      for (const float level : unit_levels(choice.spec)) entries.push_back(size * level);
    }
    return entries;
  });
}

double entry_scale(Value weight, const TensorPlan& item) {
  const auto entries = static_cast<double>(parameter_shape(item).numel());
  return entries / static_cast<double>(weight.shape().numel());
}

Value RepresentativeForward::apply(nn::Scope& scope, const std::string& name, Value w) const {
  const TensorPlan* item = plan_.find(name);
  if (item == nullptr) return w;
  const Value hard = scope.graph().input(kHard, f32({})),
              live = scope.graph().input(kLive, f32({}));
  const Value c = representatives(scope, *item), fixed = ops::detach(w);
  const double s = entry_scale(w, *item);
  const Value steady = s * c + (1 - s) * ops::detach(c);
  const Value entry = ops::nearest(w, steady, item->choice->group_rows).entry;
  return fixed + live * (w - fixed) + hard * (entry - fixed);
}

void RepresentativeForward::set(nn::Trainer& trainer, bool hard, bool live, double gain) {
  trainer.set(kHard, hard ? 1 : 0);
  trainer.set(kLive, live ? gain : 0);
}

double short_training_gain(double full, double updates) {
  return std::clamp(std::sqrt(full / std::max(updates, 1.0)), 1.0, kMostGain);
}

Setting full_updates_setting() {
  return Setting::number(kFullUpdates, 2000,
                         "LC, MOCQ and QAR: in fewer updates coded weights take gradients times "
                         "sqrt(this / updates), at most 4 (0: never)",
                         "forward.full_updates", 0, 1e9);
}

bool ForwardStages::hard(double progress, std::int64_t epochs) const {
  const bool last = progress * static_cast<double>(epochs) > static_cast<double>(epochs) - 1.5;
  return hard_from < 1 && (progress >= hard_from || last);
}

void ForwardStages::require(const std::string& method) const {
  check(hard_from >= 1 || hard_from <= finish_from, method, ": weights are held from ", finish_from,
        " of the epochs on, before the forward pass is quantized at ", hard_from);
}

void ForwardStages::set_scalars(nn::Trainer& trainer, double progress, std::int64_t epochs,
                                double updates) const {
  const bool quantized = hard(progress, epochs);
  RepresentativeForward::set(trainer, quantized, !finishing(progress),
                             quantized ? short_training_gain(full_updates, updates) : 1);
}

double ForwardStages::warm_up(double epoch, std::int64_t epochs) const {
  if (!hard(share(std::floor(epoch), epochs), epochs)) return 1;
  const auto all = static_cast<double>(epochs);
  const double first = std::min(std::ceil(hard_from * all - kRounding), all - 1);
  return std::min(1.0, (epoch - first) / (kWarmUp * (all - first)));
}

void ForwardStages::start_epoch(nn::Trainer& trainer, std::int64_t epoch,
                                std::int64_t epochs) const {
  if (finishing(share(epoch, epochs)) && (epoch == 0 || !finishing(share(epoch - 1, epochs))))
    trainer.reset_optimizer();
}

std::vector<Setting> forward_settings() {
  const ForwardStages usual;
  return {full_updates_setting(),
          Setting::number("hard-from", usual.hard_from,
                          "MOCQ and QAR: share of the epochs from which the forward pass is "
                          "quantized (1: never)",
                          "forward.hard_from", 0, 1),
          Setting::number("finish-from", usual.finish_from,
                          "MOCQ and QAR: share from which only representatives, biases and scales "
                          "are trained",
                          "forward.finish_from", 0, 1),
          Setting::choice(
              kCoefficient, usual.coefficient,
              "MOCQ and QAR: what weighs their term: its pull as a constant "
              "(scheduled), by the norms of gradients (dynamic), as a constraint's "
              "multiplier (augmented; its pull is the growth in a step, 1e-3, say), or with "
              "the losses (joint: --loss-weighting upgrad, say)",
              "", nn::coefficient_kinds())};
}

ForwardStages forward_stages(const Settings& s) {
  return {s.number("hard-from"), s.number("finish-from"),
          nn::coefficient_kinds().parse(s.text(kCoefficient)), s.number(kFullUpdates)};
}

void describe_forward(const Settings& settings, Config& config) {
  if (forward_stages(settings).coefficient != ForwardStages().coefficient)
    config["objective.coefficient"] = settings.text(kCoefficient);
  config["forward.warm_up"] = cat(kWarmUp);
}

void validate_forward(const Settings& settings) {
  const ForwardStages stages = forward_stages(settings);
  check(stages.hard_from >= 1 || stages.hard_from <= stages.finish_from, "--hard-from ",
        stages.hard_from, " lies behind --finish-from ", stages.finish_from,
        ", from where weights are held");
}

}  // namespace tessera::quant
