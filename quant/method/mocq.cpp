#include "quant/method/mocq.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/autodiff.h"
#include "core/values.h"
#include "ops/build.h"
#include "ops/codebook/nearest.h"

namespace tessera::quant {

namespace {

constexpr double kHalfPi = std::numbers::pi / 2;

// tan(pi/2 u) for u in [0, 1) by its partial fractions, 4/pi u sum_k 1 / ((2k-1)^2 - u^2): the pole
// at 1 exactly, the rest, which is smooth, as a series in u^2. Error below 3e-8 of the value.
// Unlike sin and cos these are instructions that every fused update compiles.
Value tan_half_pi(Value u) {
  // sum over k >= 2 of (2k-1)^-2n, n = 1, 2, ...
  constexpr double kSeries[] = {0.23370055013616982,   0.014678031604192054,  0.0014470766409421654,
                                1.5517902529611931e-4, 1.7041363044825489e-5, 1.8858485831163e-6,
                                2.092405192e-7,        2.32371573e-8};
  const Value t = ops::square(u);
  Value rest = u.graph().constant(kSeries[std::size(kSeries) - 1]);
  for (std::size_t i = std::size(kSeries) - 1; i-- > 0;) rest = rest * t + kSeries[i];
  return u * (1.0 / (1.0 - t) + rest) * (2 / kHalfPi);
}

double geometric(double begin, double end, double share) {
  return begin * std::pow(end / begin, share);
}

}  // namespace

PeriodicError::PeriodicError(const CompressionPlan& plan, nn::Coefficient coefficient, double guard)
    : plan_(plan), coefficient_(coefficient), guard_(guard) {
  check(guard > 0 && guard < 1, "[mocq] the guard must be in (0, 1), got ", guard);
}

std::optional<nn::WeightTerm> PeriodicError::term(nn::Scope& scope, const std::string& name,
                                                  Value w) const {
  const TensorPlan* item = plan_.find(name);
  if (item == nullptr) return std::nullopt;
  const Value entries = representatives(scope, *item);
  const ops::NearestResult cell = ops::nearest(w, entries, item->choice->group_rows);
  const Value apart = w - cell.entry, half = 0.5 * ops::abs(cell.neighbour - cell.entry);
  const Value inside = ops::greater(half, 0.0);
  const Value h = ops::maximum(half, 1e-12);
  const Value u = ops::minimum(ops::abs(apart) / h, 1 - guard_);
  const Value unit = h * (1 / kHalfPi);
  nn::WeightTerm out;
  out.value = ops::sum(ops::where(inside, -ops::log(ops::cos(u * kHalfPi)) * ops::square(unit),
                                  0.5 * ops::square(apart)));
  out.gradient = ops::where(inside, ops::sign(apart) * tan_half_pi(u) * unit, apart);
  out.size = ops::sqrt(ops::sum(ops::square(apart)));
  // Each entry hears the opposite of what its weights hear, its cell taken as it is.
  const Value reaction = ops::sum(ops::detach(out.gradient) * cell.entry);
  const Value parameter = representative_parameter(scope, *item);
  out.own.emplace_back(parameter, -grad(reaction, std::vector{parameter}).front());
  out.own_scale = entry_scale(w, *item);
  return out;
}

double Mocq::coefficient(double progress) const {
  return progress < options_.start
             ? 0
             : geometric(options_.pull_begin, options_.pull_end, ramp(progress));
}

double Mocq::ramp(double progress) const {
  return std::clamp((progress - options_.start) / (options_.ramp_until - options_.start), 0.0, 1.0);
}

double Mocq::constant(double progress) const {
  return progress < options_.start
             ? 0
             : geometric(options_.penalty_begin, options_.penalty_end, ramp(progress));
}

void Mocq::prepare(nn::Trainer& trainer, const Codebooks& direct) {
  set_representatives(plan(), trainer.state(), direct);
  Distiller(options_.distill).prepare(trainer, samples());
}

void Mocq::attach(nn::Trainer& trainer) {
  Distiller(options_.distill).attach(trainer, samples());
  nn::Coefficient coefficient;
  coefficient.kind = options_.forward.coefficient;
  trainer.add_objective(std::make_shared<PeriodicError>(plan(), coefficient, options_.guard));
  trainer.add_weight_transform(std::make_shared<RepresentativeForward>(plan()));
}

void Mocq::require(const CompressionPlan& plan) const {
  TrainedMethod::require(plan);
  options_.forward.require(name());
}

double Mocq::learning_rate(double epoch) const {
  return TrainedMethod::learning_rate(epoch) * options_.forward.warm_up(epoch, schedule().epochs);
}

void Mocq::start_epoch(nn::Trainer& trainer, std::int64_t epoch) {
  options_.forward.start_epoch(trainer, epoch, schedule().epochs);
}

void Mocq::set_scalars(nn::Trainer& trainer, double progress) {
  const bool finishing = options_.forward.finishing(progress);
  trainer.set(nn::coefficient_input("mocq"), finishing ? 0 : coefficient(progress));
  trainer.set(nn::constant_input("mocq"), finishing ? 0 : constant(progress));
  options_.forward.set_scalars(trainer, progress, schedule().epochs, updates());
  Distiller(options_.distill).set_scalars(trainer, progress, schedule().epochs);
}

void Mocq::finish_epoch(nn::Trainer& trainer, std::int64_t epoch) {
  Distiller(options_.distill).finish_epoch(trainer);
  const double progress = static_cast<double>(epoch) / schedule().epochs;
  if (options_.forward.hard(progress, schedule().epochs)) return;
  CStepReport ignored;
  set_representatives(plan(), trainer.state(), fit_weights(trainer, codebooks(trainer), ignored));
}

Codebooks Mocq::snap(const nn::Trainer& trainer) const {
  return assign_representatives(plan(), trainer.state());
}

namespace {

MocqOptions mocq_options(const Settings& s) {
  MocqOptions out;
  out.schedule = training_schedule(s);
  out.penalty_end = s.number("mocq-penalty");
  out.pull_end = s.number("mocq-pull");
  out.guard = s.number("mocq-guard");
  out.forward = forward_stages(s);
  out.distill = distill_options(s);
  return out;
}

}  // namespace

MethodRow mocq_row() {
  const MocqOptions usual;
  std::vector<Setting> own = distill_settings();
  own.push_back(Setting::number("mocq-penalty", usual.penalty_end,
                                "MOCQ: coefficient of the quantization error at the end of its "
                                "ramp, besides the dynamic one",
                                "", 1e-9, 1e6));
  own.push_back(Setting::number("mocq-pull", usual.pull_end,
                                "MOCQ: dynamic coefficient there: the error's gradient in terms of "
                                "the task's",
                                "", 1e-6, 1e6));
  own.push_back(Setting::number("mocq-guard", usual.guard,
                                "MOCQ: distance kept from the poles of the error", "mocq.guard",
                                1e-6, 0.5));
  for (Setting& setting : forward_settings()) own.push_back(std::move(setting));
  MethodRow out = trained_row(
      "mocq", "a periodic quantization error beside the task, weighed by gradients", std::move(own),
      [](const Settings& s) { return std::make_unique<Mocq>(mocq_options(s)); },
      [](const Settings& s, Config& config) {
        const MocqOptions o = mocq_options(s);
        const auto range = [](double from, double to) { return exact(from) + " to " + exact(to); };
        config["mocq.pull"] = range(o.pull_begin, o.pull_end);
        if (o.forward.coefficient == nn::Coefficient::Kind::dynamic)
          config["mocq.penalty"] = range(o.penalty_begin, o.penalty_end);
        config["mocq.ramp"] = range(o.start, o.ramp_until);
        describe_forward(s, config);
      });
  out.also(validate_forward);
  return out;
}

}  // namespace tessera::quant
