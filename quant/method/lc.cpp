#include "quant/method/lc.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/build.h"
#include "quant/method/method_list.h"

namespace tessera::quant {

namespace {

constexpr const char* kTarget = ".lc_target";
constexpr const char* kMultiplier = ".lc_multiplier";
constexpr double kRounding = 1e-9;  // of epochs that are sums of fractions

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
  return lr * std::pow(lr_decay, step) * (lr_final + (1 - lr_final) * half_cosine);
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

double LearningCompression::mu(std::int64_t step) const {
  return options_.mu * std::pow(options_.mu_growth, static_cast<double>(step));
}

double LearningCompression::learning_rate(double epoch) const {
  const double rate = options_.alternation.rate(epoch);
  return options_.clip_rate ? std::min(rate, 1.0 / mu(options_.alternation.complete(epoch))) : rate;
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

CStepReport LearningCompression::start(nn::Trainer& trainer, const BatchSource&, bool resuming) {
  CStepReport report;
  if (!resuming) {
    State& state = trainer.state();
    report = compress_directly(trainer, plan(), {}, 0);
    for (const auto& item : plan().tensors) {
      if (item.choice) state.set(item.name + kMultiplier, Tensor(DType::f32, item.shape));
    }
    set_targets(state, codebooks(trainer), mu(0));
    if (options_.alternation.reset_momentum) trainer.reset_optimizer();
  }
  trainer.add_objective(std::make_shared<QuadraticPenalty>(plan()));
  return report;
}

void LearningCompression::before_epoch(nn::Trainer& trainer, double epoch) {
  trainer.set(nn::coefficient_input("lc"), mu(options_.alternation.complete(epoch)));
}

std::optional<CStepReport> LearningCompression::after_update(nn::Trainer& trainer, double from,
                                                             double to) {
  const std::int64_t step = options_.alternation.complete(to);
  if (step == options_.alternation.complete(from)) return std::nullopt;
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
  trainer.set(nn::coefficient_input("lc"), mu(step));
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
          Setting::number("lr-final", usual.lr_final,
                          "share of the rate left at the end of a step (half a cosine; 1: "
                          "constant)",
                          "lr_final", 0, 1),
          Setting::on_off("momentum-reset", usual.reset_momentum,
                          "momentum starts at 0 in every step", "momentum_reset")};
}

std::vector<Setting> lc_settings() {
  const LcOptions usual;
  std::vector<Setting> out = alternation_settings();
  out.push_back(Setting::above_zero("mu", usual.mu, "LC: penalty weight of the first step", "mu"));
  out.push_back(Setting::number("mu-growth", usual.mu_growth, "LC: its factor per step",
                                "mu_growth", 1e-3, 1e3));
  out.push_back(Setting::on_off("lr-clip", usual.clip_rate, "LC: keep the learning rate below 1/mu",
                                "lr_clip"));
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
          .lr_final = s.number("lr-final"),
          .reset_momentum = s.on("momentum-reset")};
}

LcOptions lc_options(const Settings& s) {
  return {.alternation = alternation(s),
          .mu = s.number("mu"),
          .mu_growth = s.number("mu-growth"),
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
