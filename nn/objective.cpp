// The multi-objective pass: objectives in, combined gradients and coefficients as nodes out.
#include "nn/objective.h"

#include <cmath>
#include <map>
#include <memory>
#include <numbers>

#include "core/autodiff.h"
#include "ops/build.h"

namespace tessera::nn {

namespace {

constexpr double kTiny = 1e-30;

Value norm(Value g) {
  return ops::sqrt(ops::sum(ops::square(g)));
}

// log10 of a norm, rounded.
Value exponent(Value n) {
  return ops::round(ops::log(ops::maximum(n, kTiny)) * (1 / std::numbers::ln10));
}

// min(most, c task / objective); 0 where either is not known yet, or does not pull.
Value dynamic_lambda(Value c, Value task, Value objective, const Coefficient& how) {
  const Value ratio = how.powers_of_ten
                          ? ops::exp((exponent(task) - exponent(objective)) * std::numbers::ln10)
                          : task / ops::maximum(objective, kTiny);
  const Value known = ops::mul(ops::greater(task, 0.0), ops::greater(objective, kTiny));
  return ops::where(known, ops::minimum(c * ratio, how.most), 0.0);
}

// A moving average that starts at the first value it sees.
struct Average {
  Value before, now, after;
};
Average moving_average(Scope& scope, const std::string& name, Value now, double keep) {
  const Value before = scope.global_state(name, {}, Init::constant(0));
  const Value after =
      keep > 0 ? ops::where(ops::equal(before, 0.0), now, before * keep + now * (1 - keep)) : now;
  scope.update(before, after);
  return {before, now, after};
}

// Gradients that a term leaves to autodiff.
void fill_gradients(WeightTerm& term, Value weight) {
  std::vector<Value> wanted;
  if (!term.gradient) wanted.push_back(weight);
  for (const auto& [parameter, gradient] : term.own) {
    if (!gradient) wanted.push_back(parameter);
  }
  if (wanted.empty()) return;
  std::size_t next = 0;
  const std::vector<Value> found = grad(term.value, wanted);
  if (!term.gradient) term.gradient = found[next++];
  for (auto& [parameter, gradient] : term.own) {
    if (!gradient) gradient = found[next++];
  }
}

class Combiner {
 public:
  Combiner(Scope& scope, const Objective& objective)
      : scope_(scope),
        name_(objective.name()),
        how_(objective.coefficient()),
        c_(scope.graph().input(coefficient_input(name_), f32({}))) {}

  // `gradient` becomes the combined one; returns what was decided.
  TermNodes add(const std::string& weight, const WeightTerm& term, Value& gradient) {
    TermNodes out{name_, weight, term.value, {}, {}, {}};
    const std::string prefix = weight + "." + name_ + ".";
    switch (how_.kind) {
      case Coefficient::Kind::scheduled:
        out.coefficient = c_;
        break;
      case Coefficient::Kind::dynamic:
        if (!how_.from_first || !shared_) {
          const Average task =
              moving_average(scope_, prefix + "task_norm", norm(gradient), how_.average);
          const Average own = moving_average(
              scope_, prefix + "norm", term.size ? term.size : norm(term.gradient), how_.average);
          out.task_norm = how_.lagged ? task.before : task.after;
          // Never less than it is now, or a pull that grows from step to step would outrun it.
          out.objective_norm = how_.lagged ? ops::maximum(own.before, own.now) : own.after;
          shared_ = scope_.graph().input(constant_input(name_), f32({})) +
                    dynamic_lambda(c_, out.task_norm, out.objective_norm, how_);
        }
        out.coefficient = shared_;
        break;
      case Coefficient::Kind::augmented: {
        check(static_cast<bool>(term.value), "[objective ", name_,
              "] an augmented Lagrangian needs the objective's value");
        const Value multiplier = scope_.global_state(prefix + "multiplier", {}, Init::constant(0));
        out.coefficient = ops::maximum(multiplier + c_ * (term.value - how_.bound), 0.0);
        scope_.update(multiplier, out.coefficient);
        break;
      }
      case Coefficient::Kind::min_norm: {
        const Value other = c_ * term.gradient;
        out.task_norm = norm(gradient);
        out.objective_norm = norm(other);
        const Value apart = ops::sum(ops::square(gradient - other));
        const Value along = ops::square(out.objective_norm) - ops::sum(gradient * other);
        const Value share = ops::clamp(along / ops::maximum(apart, kTiny), 0.0, 1.0);
        out.coefficient = (1.0 - share) * c_;
        gradient = share * gradient;
        break;
      }
    }
    gradient = gradient + out.coefficient * term.gradient;
    return out;
  }

 private:
  Scope& scope_;
  std::string name_;
  Coefficient how_;
  Value c_, shared_;
};

}  // namespace

std::string coefficient_input(const std::string& objective) {
  return objective + ".coefficient";
}

std::string constant_input(const std::string& objective) {
  return objective + ".constant";
}

std::vector<TermNodes> combine_objectives(
    Scope& scope, const std::vector<std::shared_ptr<const Objective>>& objectives,
    const std::vector<ParameterSpec>& specs, const std::vector<Value>& weights,
    std::vector<Value>& gradients, std::vector<OwnGradient>& own) {
  std::vector<TermNodes> out;
  for (const auto& objective : objectives) {
    std::optional<Combiner> combiner;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      auto term = objective->term(scope, specs[i].name, weights[i]);
      if (!term) continue;
      fill_gradients(*term, weights[i]);
      if (!combiner) combiner.emplace(scope, *objective);
      out.push_back(combiner->add(specs[i].name, *term, gradients[i]));
      for (const auto& [parameter, gradient] : term->own) {
        own.push_back({parameter, out.back().coefficient * gradient * term->own_scale,
                       objective->own_group()});
      }
    }
  }
  return out;
}

}  // namespace tessera::nn
