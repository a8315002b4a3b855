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

}  // namespace

const Names<Coefficient::Kind>& coefficient_kinds() {
  using Kind = Coefficient::Kind;
  static const Names<Kind> all("coefficient", {{"scheduled", Kind::scheduled},
                                               {"dynamic", Kind::dynamic},
                                               {"augmented", Kind::augmented},
                                               {"joint", Kind::joint}});
  return all;
}

std::string coefficient_input(const std::string& objective) {
  return objective + ".coefficient";
}

std::string constant_input(const std::string& objective) {
  return objective + ".constant";
}

bool ObjectivePass::Terms::joint() const {
  return objective->coefficient().kind == Coefficient::Kind::joint;
}

ObjectivePass::ObjectivePass(Scope& scope,
                             const std::vector<std::shared_ptr<const Objective>>& objectives,
                             const std::vector<ParameterSpec>& specs,
                             const std::vector<Value>& weights)
    : scope_(scope) {
  for (const ParameterSpec& spec : specs) names_.push_back(spec.name);
  for (const auto& objective : objectives) {
    Terms terms{objective, {}, {}};
    for (std::size_t i = 0; i < weights.size(); ++i) {
      auto term = objective->term(scope, names_[i], weights[i]);
      if (!term) continue;
      fill_gradients(*term, weights[i]);
      terms.terms.push_back({i, std::move(*term)});
    }
    if (terms.terms.empty()) continue;
    terms.c = scope.graph().input(coefficient_input(objective->name()), f32({}));
    all_.push_back(std::move(terms));
  }
}

std::vector<JointGradient> ObjectivePass::joint() const {
  std::vector<JointGradient> out;
  for (const Terms& terms : all_) {
    if (!terms.joint()) continue;
    JointGradient& g = out.emplace_back();
    g.name = terms.objective->name();
    g.by.resize(names_.size());
    for (const Term& t : terms.terms) g.by[t.weight] = terms.c * t.made.gradient;
  }
  return out;
}

void ObjectivePass::joined(std::span<const std::vector<Value>> weights) {
  std::size_t next = 0;
  for (Terms& terms : all_) {
    if (!terms.joint()) continue;
    for (Term& t : terms.terms) t.joined = weights[next][t.weight];
    ++next;
  }
}

TermNodes ObjectivePass::dynamic(const Terms& terms, const Term& term, Value gradient,
                                 Value& shared) {
  const std::string name = terms.objective->name();
  const Coefficient how = terms.objective->coefficient();
  const std::string prefix = cat(names_[term.weight], ".", name, ".");
  TermNodes out;
  if (!how.from_first || !shared) {
    const Average task = moving_average(scope_, prefix + "task_norm", norm(gradient), how.average);
    const Average own =
        moving_average(scope_, prefix + "norm",
                       term.made.size ? term.made.size : norm(term.made.gradient), how.average);
    out.task_norm = how.lagged ? task.before : task.after;
    // Never less than it is now, or a pull that grows from step to step would outrun it.
    out.objective_norm = how.lagged ? ops::maximum(own.before, own.now) : own.after;
    shared = scope_.graph().input(constant_input(name), f32({})) +
             dynamic_lambda(terms.c, out.task_norm, out.objective_norm, how);
  }
  out.coefficient = shared;
  return out;
}

TermNodes ObjectivePass::weigh(const Terms& terms, const Term& term, Value gradient,
                               Value& shared) {
  const std::string name = terms.objective->name();
  const Coefficient how = terms.objective->coefficient();
  TermNodes out;
  switch (how.kind) {
    case Coefficient::Kind::scheduled:
      out.coefficient = terms.c;
      break;
    case Coefficient::Kind::dynamic:
      out = dynamic(terms, term, gradient, shared);
      break;
    case Coefficient::Kind::augmented: {
      check(static_cast<bool>(term.made.value), "[objective ", name,
            "] an augmented Lagrangian needs the objective's value");
      const Value multiplier = scope_.global_state(
          cat(names_[term.weight], ".", name, ".multiplier"), {}, Init::constant(0));
      const Value next = ops::maximum(multiplier + terms.c * (term.made.value - how.bound), 0.0);
      out.coefficient = ops::where(ops::greater(terms.c, 0.0), next, 0.0);
      scope_.update(multiplier, next);
      break;
    }
    case Coefficient::Kind::joint:
      check(static_cast<bool>(term.joined), "[objective ", name,
            "] a joint coefficient needs a weighting of losses by gradients: upgrad, say");
      out.coefficient = term.joined * terms.c;
      break;
  }
  out.objective = name;
  out.weight = names_[term.weight];
  out.value = term.made.value;
  return out;
}

std::vector<TermNodes> ObjectivePass::add(std::vector<Value>& gradients,
                                          std::vector<OwnGradient>& own) {
  std::vector<TermNodes> out;
  const std::vector<Value> task = gradients;
  for (const Terms& terms : all_) {
    Value shared;
    for (const Term& term : terms.terms) {
      Value& gradient = gradients[term.weight];
      out.push_back(weigh(terms, term, task[term.weight], shared));
      const Value coefficient = out.back().coefficient;
      if (!terms.joint()) gradient = gradient + coefficient * term.made.gradient;
      for (const auto& [parameter, g] : term.made.own) {
        own.push_back(
            {parameter, coefficient * g * term.made.own_scale, terms.objective->own_group()});
      }
    }
  }
  return out;
}

}  // namespace tessera::nn
