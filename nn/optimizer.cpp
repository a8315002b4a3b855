#include "nn/optimizer.h"

#include <algorithm>
#include <cmath>

namespace tessera::nn {

namespace {

using Settings = std::vector<std::pair<std::string, double>>;

// Gradients of weights (matrices, kernels) are decayed; biases and scales are not.
bool is_weight(const ParameterSpec& p) {
  return p.type.shape.rank() >= 2;
}

Updated sgd(const Update& u) {
  if (u.moments.empty()) {
    const Value zero = u.parameter.graph().constant(0.0, u.parameter.type());
    return {
        ops::sgd_update(u.parameter, u.gradient, zero, u.rate, 0.0, false, u.weight_decay).param,
        {}};
  }
  const auto next = ops::sgd_update(u.parameter, u.gradient, u.moments[0], u.rate,
                                    u.options.momentum, u.options.nesterov, u.weight_decay);
  return {next.param, {next.momentum}};
}

template <bool decoupled>
Updated adam(const Update& u) {
  const ops::AdamOptions options{u.options.beta1, u.options.beta2, u.options.epsilon, decoupled};
  const auto next = ops::adam_update(u.parameter, u.gradient, u.moments[0], u.moments[1], u.count,
                                     u.rate, u.weight_decay, options);
  return {next.param, {next.mean, next.variance}};
}

Settings sgd_settings(const OptimizerOptions& o) {
  return {{"momentum", o.momentum}, {"nesterov", o.nesterov ? 1.0 : 0.0}};
}

Settings adam_settings(const OptimizerOptions& o) {
  return {{"beta1", o.beta1}, {"beta2", o.beta2}, {"epsilon", o.epsilon}};
}

}  // namespace

GradientTransform clip_by_norm(double limit) {
  check(std::isfinite(limit) && limit > 0, "the limit of a norm must be positive, got ", limit);
  return [limit](Scope&, std::span<NamedGradient> gradients) {
    Value squares;
    for (const NamedGradient& g : gradients) {
      const Value s = ops::sum(ops::square(g.gradient));
      squares = squares ? squares + s : s;
    }
    const Value factor = limit / ops::maximum(ops::sqrt(squares), limit);  // a NaN stays one
    for (NamedGradient& g : gradients) g.gradient = g.gradient * factor;
  };
}

std::span<const Optimizer> optimizers() {
  static const std::vector<Optimizer> rows = {
      {"sgd", "stochastic gradient descent with momentum", {"momentum"}, false, sgd, sgd_settings},
      {"adam",
       "Kingma and Ba 2015; weight decay is part of the gradient",
       {"momentum", "variance"},
       true,
       adam<false>,
       adam_settings},
      {"adamw",
       "Loshchilov and Hutter 2019: Adam whose weight decay stands beside the gradient",
       {"momentum", "variance"},
       true,
       adam<true>,
       adam_settings}};
  return rows;
}

const Optimizer& optimizer(const std::string& name) {
  std::string names;
  for (const Optimizer& row : optimizers()) {
    if (row.name == name) return row;
    names += (names.empty() ? "" : ", ") + row.name;
  }
  fail("there is no optimizer '", name, "', but ", names);
}

std::vector<std::string> moments_of(const OptimizerOptions& options) {
  if (options.name == "sgd" && options.momentum == 0) return {};
  return optimizer(options.name).moments;
}

ParameterGroup group_of(const OptimizerOptions& options, const ParameterSpec& parameter) {
  ParameterGroup group;
  if (options.group) group = options.group(parameter.name);
  if (!group.weight_decay) group.weight_decay = is_weight(parameter) ? options.weight_decay : 0.0;
  check(std::isfinite(group.lr_scale) && group.lr_scale >= 0, "the learning rate scale of '",
        parameter.name, "' must be 0 or more, got ", group.lr_scale);
  check(std::isfinite(*group.weight_decay) && *group.weight_decay >= 0, "the weight decay of '",
        parameter.name, "' must be 0 or more, got ", *group.weight_decay);
  return group;
}

}  // namespace tessera::nn
