// One optimizer step as plain elementwise nodes: the fuse pass makes one pass over memory of it,
// together with whatever weight-only gradient was added to `grad`. PyTorch's semantics.
#include "ops/op_common.h"

namespace tessera::ops {

namespace {

void check_same(std::string_view op, Value param, std::initializer_list<Value> others) {
  check(static_cast<bool>(param), "[", op, "] param is not a value");
  for (const Value v : others) {
    check(v && v.type().dense() == param.type().dense(), "[", op, "] expected ",
          param.type().dense().text(), ", got ", v ? v.type().text() : "none");
  }
}

Value scalar(std::string_view op, std::string_view what, const Arg& arg, Graph& graph) {
  const Value v = arg.in(graph);
  check(v && v.shape().rank() == 0 && v.type().dtype == DType::f32, "[", op, "] ", what,
        " must be a scalar f32, got ", v ? v.type().text() : "none");
  return v;
}

bool is_zero(Value v) {
  return constant_value(v) == 0.0;
}

}  // namespace

SgdResult sgd_update(Value param, Value grad, Value momentum_buffer, const Arg& lr,
                     const Arg& momentum, bool nesterov, const Arg& weight_decay) {
  constexpr std::string_view kName = "sgd_update";
  check_same(kName, param, {grad, momentum_buffer});
  Graph& graph = param.graph();
  const Value rate = scalar(kName, "lr", lr, graph), m = scalar(kName, "momentum", momentum, graph);
  const Value decay = scalar(kName, "weight_decay", weight_decay, graph);
  const Value g = is_zero(decay) ? grad : grad + decay * param;
  const Value buffer = m * momentum_buffer + g;
  const Value direction = nesterov ? g + m * buffer : buffer;
  return {param - rate * direction, buffer};
}

AdamResult adam_update(Value param, Value grad, Value mean, Value variance, Value step,
                       const Arg& lr, const Arg& weight_decay, const AdamOptions& options) {
  constexpr std::string_view kName = "adam_update";
  check_same(kName, param, {grad, mean, variance});
  check(step && step.shape().rank() == 0, "[", kName, "] step must be a scalar");
  Graph& graph = param.graph();
  const Value rate = scalar(kName, "lr", lr, graph);
  const Value decay = scalar(kName, "weight_decay", weight_decay, graph);
  const Value t = cast(step, DType::f32);
  const double b1 = options.beta1, b2 = options.beta2;

  Value w = param, g = grad;
  if (!is_zero(decay)) {
    if (options.decoupled_decay) {
      w = param * (1.0 - rate * decay);
    } else {
      g = grad + decay * param;
    }
  }
  const Value m = mean * b1 + g * (1 - b1);
  const Value v = variance * b2 + square(g) * (1 - b2);
  const Value rate_m = rate / (1.0 - pow(b1, t));
  const Value scale_v = rsqrt(1.0 - pow(b2, t));
  return {w - rate_m * m / (sqrt(v) * scale_v + options.epsilon), m, v};
}

}  // namespace tessera::ops
