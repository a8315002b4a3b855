#include "nn/loss_weighting.h"

#include <cmath>

#include "core/rng.h"
#include "ops/build.h"
#include "ops/weighting/gramian_weights.h"

namespace tessera::nn {

namespace {

constexpr double kTiny = 1e-30;
constexpr double kNone = 1e-8;  // famo: what a loss of nothing is at most

double preference_of(const LossWeighting& options, std::size_t i) {
  return options.preference.empty() ? 1 : options.preference[i];
}

Value total_of(std::vector<Value> terms) {
  Value out = terms.front();
  for (std::size_t i = 1; i < terms.size(); ++i) out = out + terms[i];
  return out;
}

// f32[n] of scalars, and back.
Value vector_of(const std::vector<Value>& scalars) {
  std::vector<Value> parts;
  for (const Value v : scalars) parts.push_back(ops::reshape(v, {1}));
  return parts.size() == 1 ? parts.front() : ops::concat(parts, 0);
}
Value element(Value vector, std::size_t i) {
  const auto at = static_cast<std::int64_t>(i);
  return ops::reshape(ops::slice(vector, 0, at, at + 1), {});
}

Value sum_of(Scope&, std::span<const NamedLoss> losses, const LossWeighting& options, Shown&) {
  std::vector<Value> terms;
  for (std::size_t i = 0; i < losses.size(); ++i)
    terms.push_back(losses[i].value * preference_of(options, i));
  return total_of(std::move(terms));
}

// Kendall, Gal & Cipolla 2018, eq. 7, with s = log sigma^2 trained beside the network.
Value uncertainty(Scope& scope, std::span<const NamedLoss> losses, const LossWeighting& options,
                  Shown& shown) {
  std::vector<Value> terms;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const Value s = scope.global_param(cat("uncertainty.", losses[i].name), {}, Init::constant(0));
    const Value weight = ops::exp(-s);
    terms.push_back((weight * losses[i].value + s) * preference_of(options, i));
    shown.emplace_back(cat("weight.", losses[i].name), weight * preference_of(options, i));
  }
  return total_of(std::move(terms));
}

// Liu et al. 2023, "FAMO", algorithm 1: z = softmax(xi) moves towards losses whose logarithm falls
// least, the step goes along sum_i z_i grad log l_i, scaled so that the weights sum to 1. How much
// they fell is seen a step later, on the batch that comes then: no further forward pass; and xi
// goes down its slope, where the authors' code has Adam. A loss that a batch has not got (a
// detector's boxes where there are none) has no part in the step.
Value famo(Scope& scope, std::span<const NamedLoss> losses, const LossWeighting& options,
           Shown& shown) {
  const auto k = static_cast<std::int64_t>(losses.size());
  std::vector<Value> values;
  for (const NamedLoss& l : losses) values.push_back(l.value);
  const Value all = vector_of(values);
  const Value now = ops::maximum(ops::detach(all), kNone), logs = ops::log(now);
  const Value there = ops::greater(now, kNone);
  const Value xi = scope.global_state("famo.logits", {k}, Init::constant(0));
  const Value before = scope.global_state("famo.logs", {k}, Init::constant(0));
  const Value seen = scope.global_state("famo.seen", {k}, Init::constant(0));
  const Value z = ops::softmax(xi), fell = seen * there * (before - logs);
  const Value slope = z * (fell - ops::sum(z * fell));
  const Value next = xi - options.rate * (slope + ops::max(seen) * options.decay * xi);
  scope.update(xi, next);
  scope.update(before, ops::where(there, logs, before));
  scope.update(seen, ops::maximum(seen, there));
  std::vector<Value> wanted;
  for (std::size_t i = 0; i < losses.size(); ++i)
    wanted.push_back(scope.graph().constant(preference_of(options, i)));
  const Value share = ops::softmax(next) * vector_of(wanted) * there / now;
  const Value weights = ops::detach(share / ops::maximum(ops::sum(share), kTiny));
  for (std::size_t i = 0; i < losses.size(); ++i)
    shown.emplace_back(cat("weight.", losses[i].name), element(weights, i));
  return ops::sum(weights * all);
}

// Lin et al. 2024, eq. 7, with the ideal point 0: mu log sum_i exp(p_i l_i / mu).
Value tchebycheff(Scope&, std::span<const NamedLoss> losses, const LossWeighting& options,
                  Shown& shown) {
  std::vector<Value> scaled;
  for (std::size_t i = 0; i < losses.size(); ++i)
    scaled.push_back(losses[i].value * (preference_of(options, i) / options.smoothness));
  const Value all = vector_of(scaled), top = ops::detach(ops::max(all));
  const Value share = ops::softmax(all);
  for (std::size_t i = 0; i < losses.size(); ++i)
    shown.emplace_back(cat("weight.", losses[i].name),
                       element(share, i) * preference_of(options, i));
  return (ops::log(ops::sum(ops::exp(all - top))) + top) * options.smoothness;
}

// The Gramian of those that reach parameter j, zeros elsewhere: [i * k + n].
std::vector<Value> products_of(std::span<const JointGradient> gradients, std::size_t parameter) {
  const std::size_t k = gradients.size();
  std::vector<Value> out(k * k);
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t n = i; n < k; ++n) {
      const Value a = gradients[i].by[parameter], b = gradients[n].by[parameter];
      if (a && b) out[i * k + n] = out[n * k + i] = ops::sum(a * b);
    }
  }
  return out;
}

// Solves for the weights of all gradients, from their products.
class Solver {
 public:
  Solver(Scope& scope, const LossWeighting& options, std::span<const JointGradient> gradients)
      : scope_(scope), options_(options), k_(gradients.size()) {
    std::vector<Value> wanted;
    for (const JointGradient& g : gradients) wanted.push_back(scope.graph().constant(g.preference));
    preference_ = vector_of(wanted);
  }

  // `where` names the draw of an order.
  Value operator()(std::vector<Value> products, const std::string& where) {
    for (Value& v : products) {
      if (!v) v = scope_.graph().constant(0.0);
    }
    const auto k = static_cast<std::int64_t>(k_);
    const GramianRule how = *loss_weighting(options_.name).by_gradients;
    Value order;
    if (how == GramianRule::pcgrad)
      order = ops::uniform(scope_.seed(), scope_.step(), {k, k},
                           static_cast<std::int64_t>(stable_id(cat("pcgrad ", where))));
    return ops::gramian_weights(ops::reshape(vector_of(products), {k, k}), preference_, how, order,
                                options_.c);
  }

 private:
  Scope& scope_;
  const LossWeighting& options_;
  std::size_t k_;
  Value preference_;
};

void add_cosines(const std::vector<Value>& products, std::span<const JointGradient> gradients,
                 const std::string& parameter, Shown& shown) {
  const std::size_t k = gradients.size();
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t n = i + 1; n < k; ++n) {
      if (!products[i * k + n]) continue;
      // The square root of their product could leave f32.
      const Value lengths = ops::sqrt(products[i * k + i]) * ops::sqrt(products[n * k + n]);
      shown.emplace_back(cat(parameter, ".cosine.", gradients[i].name, ".", gradients[n].name),
                         products[i * k + n] / ops::maximum(lengths, kTiny));
    }
  }
}

}  // namespace

std::span<const LossWeightingRow> loss_weightings() {
  static const std::vector<LossWeightingRow> rows = {
      {"sum", "their sum, times the preferences", {}, sum_of},
      {"uncertainty", "trained scales (Kendall et al. 2018)", {}, uncertainty},
      {"famo", "towards those that fall least (Liu et al. 2023)", {}, famo},
      {"tchebycheff", "a smooth maximum (Lin et al. 2024)", {}, tchebycheff},
      {"mgda", "the shortest combination (Sener & Koltun 2018)", GramianRule::mgda},
      {"upgrad", "each where no loss rises (Quinton & Rey 2024)", GramianRule::upgrad},
      {"dualproj", "their sum where no loss rises (Lopez-Paz & Ranzato 2017)",
       GramianRule::dualproj},
      {"pcgrad", "without what opposes others (Yu et al. 2020)", GramianRule::pcgrad},
      {"cagrad", "near the sum, best for the worst (Liu et al. 2021)", GramianRule::cagrad}};
  return rows;
}

const LossWeightingRow& loss_weighting(const std::string& name) {
  std::vector<std::string> names;
  for (const LossWeightingRow& row : loss_weightings()) {
    if (row.name == name) return row;
    names.push_back(row.name);
  }
  fail("weighting of losses ", quote(name), " is unknown; there are ", listed(names, " and "));
}

bool weighs(const LossWeighting& options) {
  return options.name != LossWeighting().name || !options.preference.empty();
}

void require_weighting(const LossWeighting& options, std::size_t losses) {
  loss_weighting(options.name);
  for (const double p : options.preference)
    check(std::isfinite(p) && p > 0, "preferences of losses must be positive, got ", p);
  check(losses == 0 || options.preference.empty() || options.preference.size() == losses,
        options.preference.size(), " preferences for ", losses, losses == 1 ? " loss" : " losses");
  check(losses != 1 || options.name == LossWeighting().name ||
            loss_weighting(options.name).by_gradients,
        options.name,
        " weighs several losses, here is one (distillation puts one in place of a task's)");
  check(options.c >= 0 && options.c < 1, "cagrad's c must be at least 0 and below 1, got ",
        options.c);
  check(std::isfinite(options.smoothness) && options.smoothness > 0,
        "tchebycheff's smoothness must be positive, got ", options.smoothness);
  check(std::isfinite(options.rate) && options.rate >= 0 && std::isfinite(options.decay) &&
            options.decay >= 0,
        "famo's rate and decay must be 0 or more, got ", options.rate, " and ", options.decay);
}

JointGradients join_gradients(Scope& scope, const LossWeighting& options,
                              std::span<const JointGradient> gradients,
                              std::span<const std::string> parameters) {
  const std::size_t k = gradients.size(), n = parameters.size();
  check(k >= 2, options.name, " weighs several losses, here is ",
        k == 0 ? "none" : "one, '" + gradients[0].name + "'");
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j < i; ++j)
      check(gradients[i].name != gradients[j].name, "two of what ", options.name,
            " weighs are named '", gradients[i].name, "'");
  }
  check(k <= kMostLosses, options.name, " weighs at most ", kMostLosses, " losses, here are ", k);
  JointGradients out;
  out.by.resize(n);
  out.weights.assign(k, std::vector<Value>(n));
  std::vector<std::vector<Value>> products(n);  // of shared parameters
  std::vector<Value> total(k * k);
  for (std::size_t j = 0; j < n; ++j) {
    std::size_t reached = 0;
    for (const JointGradient& g : gradients) reached += static_cast<bool>(g.by[j]);
    if (reached < 2) continue;
    products[j] = products_of(gradients, j);
    add_cosines(products[j], gradients, parameters[j], out.shown);
    for (std::size_t i = 0; i < k * k; ++i) {
      if (!products[j][i]) continue;
      total[i] = total[i] ? total[i] + products[j][i] : products[j][i];
    }
  }
  Solver solve(scope, options, gradients);
  std::vector<Value> common;  // weights
  const auto split = [&](Value weights, const std::string& prefix) {
    std::vector<Value> each;
    for (std::size_t i = 0; i < k; ++i) {
      each.push_back(element(weights, i));
      out.shown.emplace_back(cat(prefix, "weight.", gradients[i].name), each.back());
    }
    return each;
  };
  for (std::size_t j = 0; j < n; ++j) {
    std::vector<Value> weights;
    if (!products[j].empty()) {
      if (options.per_tensor) {
        weights = split(solve(products[j], parameters[j]), parameters[j] + ".");
      } else {
        if (common.empty()) common = split(solve(total, "all"), "");
        weights = common;
      }
    }
    for (std::size_t i = 0; i < k; ++i) {
      const Value g = gradients[i].by[j];
      if (!g) continue;
      const Value weight =
          weights.empty() ? scope.graph().constant(gradients[i].preference) : weights[i];
      out.weights[i][j] = weight;
      out.by[j] = out.by[j] ? out.by[j] + weight * g : weight * g;
    }
  }
  return out;
}

}  // namespace tessera::nn
