#include "quant/method/lc.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/text.h"
#include "ops/build.h"
#include "quant/method/method_list.h"
#include "quant/method/representatives.h"

namespace tessera::quant {

namespace {

constexpr const char* kTarget = ".lc_target";
constexpr const char* kMultiplier = ".lc_multiplier";
constexpr double kRounding = 1e-9;   // of epochs that are sums of fractions
constexpr double kLeastRate = 0.05;  // share of its start below which mu does not make up for it
constexpr double kLeastFinish = 0.2, kHeldFrom = 0.9, kWarmUp = 0.1;

std::vector<float> weights_of(const State& state, const std::string& name) {
  return state.get(name).to_vector<float>();
}

// The C step at the current weights: also what DC is.
CStepReport compress_directly(nn::Trainer& trainer, const CompressionPlan& plan,
                              const Codebooks& previous, std::int64_t step) {
  State& state = trainer.state();
  CStepReport report;
  report.step = step;
  const Codebooks fitted = fit_all(
      plan, [&](const std::string& name) { return weights_of(state, name); }, previous, report,
      trainer.ranks());
  store_codebooks(state, fitted);
  return report;
}

// Training goes on from the quantized weights.
void take_decoded(State& state, const Codebooks& codebooks) {
  for (const auto& [name, c] : codebooks) {
    Tensor w(DType::f32, c.shape);
    c.decode(w.span<float>());
    state.set(name, w);
  }
}

}  // namespace

PostTraining direct_compression() {
  return {"dc", 0,
          [](const TrainedNetwork& network, const CompressionPlan& plan, const CalibrationSet*) {
            PostTrained out;
            out.codebooks = fit_all(
                plan, [&](const std::string& name) { return weights_of(network.state, name); }, {},
                out.report);
            return out;
          }};
}

std::int64_t Alternation::total_epochs() const {
  if (steps == 0) return 0;
  return static_cast<std::int64_t>(std::ceil(first_epochs + (steps - 1) * epochs - kRounding));
}

std::int64_t Alternation::complete(double epoch) const {
  if (epoch >= static_cast<double>(total_epochs())) return steps;
  const double rest = epoch - first_epochs + kRounding;
  if (rest < 0 || steps < 2) return 0;
  return std::min<std::int64_t>(steps - 1, 1 + static_cast<std::int64_t>(rest / epochs));
}

double Alternation::rate(double epoch) const {
  const auto step = static_cast<double>(complete(epoch));
  const double inside =
      step == 0 ? epoch / first_epochs : (epoch - first_epochs) / epochs - (step - 1);
  const double half_cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(inside, 0.0, 1.0)));
  const double all =
      0.5 * (1 + std::cos(std::numbers::pi * epoch / static_cast<double>(total_epochs())));
  return lr * std::pow(lr_decay, step) * (lr_final + (1 - lr_final) * half_cosine) *
         (lr_fall + (1 - lr_fall) * all);
}

CStepReport IteratedDirectCompression::start(nn::Trainer& trainer, const BatchSource&,
                                             bool resuming) {
  if (resuming) return {};
  CStepReport report = compress_directly(trainer, plan(), {}, 0);
  take_decoded(trainer.state(), codebooks(trainer));
  if (alternation_.reset_momentum) trainer.reset_optimizer();
  return report;
}

std::optional<CStepReport> IteratedDirectCompression::after_update(nn::Trainer& trainer,
                                                                   double from, double to) {
  const std::int64_t step = alternation_.complete(to);
  if (step == alternation_.complete(from)) return std::nullopt;
  CStepReport report = compress_directly(trainer, plan(), codebooks(trainer), step);
  take_decoded(trainer.state(), codebooks(trainer));
  if (alternation_.reset_momentum) trainer.reset_optimizer();
  return report;
}

QuadraticPenalty::QuadraticPenalty(const CompressionPlan& plan) : names_(plan.compressed()) {}

std::optional<nn::WeightTerm> QuadraticPenalty::term(nn::Scope& scope, const std::string& name,
                                                     Value weight) const {
  if (std::find(names_.begin(), names_.end(), name) == names_.end()) return std::nullopt;
  const Value apart = weight - scope.graph().state(name + kTarget, weight.type());
  return nn::WeightTerm{0.5 * ops::sum(ops::square(apart)), apart};
}

double LearningCompression::start_of(std::int64_t step) const {
  const Alternation& a = options_.alternation;
  return step == 0 ? 0 : a.first_epochs + static_cast<double>(step - 1) * a.epochs;
}

double LearningCompression::mu(std::int64_t step) const {
  const Alternation& a = options_.alternation;
  const double growth = options_.mu_growth > 0
                            ? options_.mu_growth
                            : std::pow(kLastPull / kFirstPull, 1.0 / std::max(a.steps - 1, 1));
  const double usual = first_mu_ * std::pow(growth, static_cast<double>(step));
  if (!with_rate_) return usual;
  const double share = a.rate(0.5 * (start_of(step) + start_of(step + 1))) / a.lr;
  return usual / std::max(share, kLeastRate);
}

// Steps that are long enough, mu by what the rates allow, and where the codebooks are taken.
void LearningCompression::choose(const nn::Trainer& trainer, const BatchSource& data) {
  Alternation& a = options_.alternation;
  const auto per_epoch = static_cast<double>(trainer.steps_per_epoch(data));
  const double updates = per_epoch * static_cast<double>(epochs_);
  if (options_.least_updates > 0 &&
      updates < static_cast<double>(a.steps) * options_.least_updates) {
    const int steps = std::max(1, static_cast<int>(updates / options_.least_updates));
    a.lr_decay = std::pow(a.lr_decay, static_cast<double>(a.steps) / steps);
    a.steps = steps;
    a.epochs = a.first_epochs = static_cast<double>(epochs_) / steps;
  }
  const nn::OptimizerOptions& optimizer = trainer.options().optimizer;
  const double time = updates * a.lr / (1 - (optimizer.name == "sgd" ? optimizer.momentum : 0));
  chosen_ = cat(a.steps, " steps of ", fixed(a.epochs * per_epoch, 0), " updates");
  if (options_.mu == 0) {
    with_rate_ = true;
    first_mu_ = kFirstPull / time;
    chosen_ += cat(", mu from ", first_mu_, " (", kFirstPull, " / ", time,
                   ", what SGD at the first rate covers in ", updates, " updates)");
  }
  const bool can = std::all_of(plan().tensors.begin(), plan().tensors.end(), [](const auto& item) {
    return !item.choice || (takes_representatives(item.choice->spec) && item.choice->sparse == 0 &&
                            item.shares.empty());
  });
  if (options_.finish == 0 || !can) return;
  const double share = std::clamp(options_.finish / updates, kLeastFinish, 1.0);
  quantized_ = std::llround((1 - share) * a.steps);
  // Whoever gives mu or its growth sees what it does: two L steps, where there are so many.
  if (options_.mu > 0 || options_.mu_growth > 0)
    quantized_ = std::max<std::int64_t>(quantized_, std::min(2, a.steps - 1));
  gain_ = short_training_gain(options_.full_updates, updates);
  // In a short training weights have no updates to spare for that.
  if (updates >= options_.finish)
    held_ = std::max<std::int64_t>(quantized_ + 1, std::llround(kHeldFrom * a.steps));
  chosen_ += cat(", on the codebooks from step ", quantized_, " on (the last ",
                 fixed(share * updates, 0), " updates)");
}

double LearningCompression::learning_rate(double epoch) const {
  const Alternation& a = options_.alternation;
  const std::int64_t step = a.complete(epoch);
  const double rate = a.rate(epoch);
  if (step < quantized_) return options_.clip_rate ? std::min(rate, 1.0 / mu(step)) : rate;
  // At one bit that is another network, whose first gradients are many times the reference's.
  const double from = start_of(quantized_);
  const double rise = kWarmUp * (static_cast<double>(epochs_) - from);
  return rate * std::clamp((epoch - from) / rise, 0.0, 1.0);
}

void LearningCompression::enter(nn::Trainer& trainer, std::int64_t step) const {
  const bool quantized = step >= quantized_;
  trainer.set(nn::coefficient_input("lc"), quantized ? 0 : mu(step));
  if (quantized_ != kNever)
    RepresentativeForward::set(trainer, quantized, step < held_, quantized ? gain_ : 1);
}

// target = Delta(Theta) + lambda / mu
void LearningCompression::set_targets(State& state, const Codebooks& codebooks, double mu) const {
  for (const auto& [name, c] : codebooks) {
    Tensor target(DType::f32, c.shape);
    auto values = target.span<float>();
    c.decode(values);
    const auto multiplier = std::as_const(state).get(name + kMultiplier).span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(values[i] + multiplier[i] / mu);
    }
    state.set(name + kTarget, target);
  }
}

CStepReport LearningCompression::start(nn::Trainer& trainer, const BatchSource& data,
                                       bool resuming) {
  CStepReport report;
  choose(trainer, data);
  if (!resuming) {
    State& state = trainer.state();
    report = compress_directly(trainer, plan(), {}, 0);
    for (const auto& item : plan().tensors) {
      if (item.choice) state.set(item.name + kMultiplier, Tensor(DType::f32, item.shape));
    }
    set_targets(state, codebooks(trainer), mu(0));
    if (quantized_ != kNever)
      set_representatives(plan(), state, with_all_entries(plan(), codebooks(trainer)));
    if (options_.alternation.reset_momentum) trainer.reset_optimizer();
  }
  trainer.add_objective(std::make_shared<QuadraticPenalty>(plan()));
  if (quantized_ != kNever)
    trainer.add_weight_transform(std::make_shared<RepresentativeForward>(plan()));
  return report;
}

void LearningCompression::before_epoch(nn::Trainer& trainer, double epoch) {
  enter(trainer, options_.alternation.complete(epoch));
}

// Entries are what was trained, and the codes those nearest: fitting them to the weights would undo
// what the loss made of them.
CStepReport LearningCompression::quantized_step(nn::Trainer& trainer, std::int64_t step) const {
  State& state = trainer.state();
  const Codebooks before = codebooks(trainer);
  const Codebooks now = assign_representatives(plan(), state);
  CStepReport report = measured(state, now, before);
  store_codebooks(state, now);
  report.step = step;
  return report;
}

std::optional<CStepReport> LearningCompression::after_update(nn::Trainer& trainer, double from,
                                                             double to) {
  const std::int64_t step = options_.alternation.complete(to);
  if (step == options_.alternation.complete(from)) return std::nullopt;
  if (options_.alternation.complete(from) >= quantized_) {
    const CStepReport report = quantized_step(trainer, step);
    enter(trainer, step);
    if (step == held_) trainer.reset_optimizer();  // held weights keep no momentum
    return report;
  }
  State& state = trainer.state();
  const double m = mu(options_.alternation.complete(from));
  CStepReport report;
  report.step = step;
  report.mu = m;
  const auto shifted = [&](const std::string& name) {
    std::vector<float> w = weights_of(state, name);
    const auto multiplier = std::as_const(state).get(name + kMultiplier).span<float>();
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(w[i] - multiplier[i] / m);
    return w;
  };
  const Codebooks fitted = fit_all(plan(), shifted, codebooks(trainer), report, trainer.ranks());
  store_codebooks(state, fitted);

  // The report's distance is of the weights themselves, not of the shifted ones.
  double total = 0, squares = 0;
  for (auto& item : report.tensors) {
    const CodebookTensor& c = fitted.at(item.name);
    const std::vector<float> w = weights_of(state, item.name);
    std::vector<float> delta(w.size());
    c.decode(delta);
    Tensor multiplier = state.get(item.name + kMultiplier);
    auto lambda = multiplier.span<float>();
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double d = static_cast<double>(w[i]) - delta[i];
      error += d * d;
      norm += static_cast<double>(w[i]) * w[i];
      if (options_.augmented) lambda[i] = static_cast<float>(lambda[i] - m * d);
    }
    state.mark_updated(item.name + kMultiplier);
    item.distance = std::sqrt(error / std::max(norm, 1e-300));
    total += error;
    squares += norm;
  }
  report.distance = std::sqrt(total / std::max(squares, 1e-300));
  set_targets(state, fitted, mu(step));
  if (step == quantized_) set_representatives(plan(), state, with_all_entries(plan(), fitted));
  enter(trainer, step);
  if (options_.alternation.reset_momentum) trainer.reset_optimizer();
  return report;
}

namespace {

std::vector<Setting> alternation_settings() {
  const Alternation usual;
  return {Setting::whole("lc-steps", usual.steps, "L and C steps (LC and iDC)", "steps", 1, 1e5),
          Setting::number("lc-epochs", usual.epochs, "epochs of a step; a part of one will do",
                          "step_epochs", 1e-4, 1e5),
          Setting::number("first-epochs", usual.first_epochs, "epochs of the first step",
                          "first_epochs", 1e-4, 1e5),
          Setting::above_zero("lr", usual.lr, "learning rate of the first step", "lr"),
          Setting::number("lr-decay", usual.lr_decay, "its factor per step", "lr_decay", 1e-6, 1e6),
          Setting::number("lr-fall", 0.05,
                          "share of the rate left at the end of all steps (half a cosine; 1: it "
                          "does not fall)",
                          "lr_fall", 0, 1),
          Setting::number("lr-final", usual.lr_final,
                          "share of the rate left at the end of a step (half a cosine; 1: "
                          "constant)",
                          "lr_final", 0, 1),
          Setting::on_off("momentum-reset", false, "momentum starts at 0 in every step",
                          "momentum_reset")};
}

std::vector<Setting> lc_settings() {
  const LcOptions usual;
  std::vector<Setting> out = alternation_settings();
  out.push_back(Setting::number("mu", usual.mu,
                                "LC: penalty weight of the first step (0: from the updates and "
                                "their rates)",
                                "mu", 0, 1e9));
  out.push_back(Setting::number("mu-growth", usual.mu_growth,
                                "LC: its factor per step (0: so that the last has 15.5 times the "
                                "first)",
                                "mu_growth", 0, 1e3));
  out.push_back(Setting::number("lc-finish", 2000,
                                "LC: so many of the last updates, at least a fifth of all, run on "
                                "the codebooks (0: none)",
                                "lc_finish", 0, 1e9));
  out.push_back(Setting::on_off("lr-clip", usual.clip_rate, "LC: keep the learning rate below 1/mu",
                                "lr_clip"));
  out.push_back(full_updates_setting());
  return out;
}

// What fits the epochs of a step; returns the share of what there was.
double rescale_alternation(Settings& s, std::int64_t epochs) {
  const double share =
      static_cast<double>(epochs) / static_cast<double>(alternation(s).total_epochs());
  s.set("lc-epochs", s.number("lc-epochs") * share);
  s.set("first-epochs", s.number("first-epochs") * share);
  return share;
}

MethodRow lc_family(const char* name, const char* doc, bool augmented) {
  return {.name = name,
          .doc = doc,
          .settings = lc_settings(),
          .training =
              [augmented](const Settings& s) {
                LcOptions options = lc_options(s);
                options.augmented = augmented;
                return std::make_unique<LearningCompression>(options);
              },
          // What the penalty does in a step is lr * mu * updates: shorter steps need more of it.
          .rescale =
              [](Settings& s, std::int64_t epochs) {
                s.set("mu", s.number("mu") / rescale_alternation(s, epochs));
              }};
}

}  // namespace

Alternation alternation(const Settings& s) {
  return {.steps = static_cast<int>(s.whole("lc-steps")),
          .epochs = s.number("lc-epochs"),
          .first_epochs = s.number("first-epochs"),
          .lr = s.number("lr"),
          .lr_decay = s.number("lr-decay"),
          .lr_fall = s.number("lr-fall"),
          .lr_final = s.number("lr-final"),
          .reset_momentum = s.on("momentum-reset")};
}

LcOptions lc_options(const Settings& s) {
  return {.alternation = alternation(s),
          .mu = s.number("mu"),
          .mu_growth = s.number("mu-growth"),
          .finish = s.number("lc-finish"),
          .full_updates = s.number(kFullUpdates),
          .least_updates = s.given("lc-steps") ? 0 : 10,
          .clip_rate = s.on("lr-clip")};
}

MethodRow direct_row() {
  return {.name = "dc",
          .doc = "direct compression: the codebook that fits the weights best, once",
          .settings = {},
          .after_training = [](const Settings&, std::uint64_t) { return direct_compression(); }};
}

MethodRow idc_row() {
  return {.name = "idc",
          .doc = "iterated direct compression: train freely, quantize, go on",
          .settings = alternation_settings(),
          .training =
              [](const Settings& s) {
                return std::make_unique<IteratedDirectCompression>(alternation(s));
              },
          .rescale = [](Settings& s, std::int64_t epochs) { rescale_alternation(s, epochs); }};
}

MethodRow lc_row() {
  return lc_family("lc", "learning-compression: L and C steps, augmented Lagrangian", true);
}
MethodRow lc_qp_row() {
  return lc_family("lc-qp", "the same by a quadratic penalty, without multipliers", false);
}

}  // namespace tessera::quant
