// Builders of the elementwise family.
#include "ops/build.h"

#include <numbers>

#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera::ops {

namespace {

template <class... Args>
Value elementwise(const OpDef& op, const Args&... args) {
  Graph* graph = nullptr;
  ((graph = graph == nullptr ? args.graph() : graph), ...);
  check(graph != nullptr, "[", op.name, "] no operand is a value");
  return graph->add(op, {args.in(*graph)...}).output();
}

}  // namespace

Value add(const Arg& a, const Arg& b) {
  return elementwise(kAdd, a, b);
}
Value sub(const Arg& a, const Arg& b) {
  return elementwise(kSub, a, b);
}
Value mul(const Arg& a, const Arg& b) {
  return elementwise(kMul, a, b);
}
Value div(const Arg& a, const Arg& b) {
  return elementwise(kDiv, a, b);
}
Value maximum(const Arg& a, const Arg& b) {
  return elementwise(kMaximum, a, b);
}
Value minimum(const Arg& a, const Arg& b) {
  return elementwise(kMinimum, a, b);
}
Value pow(const Arg& a, const Arg& b) {
  return elementwise(kPow, a, b);
}
Value greater(const Arg& a, const Arg& b) {
  return elementwise(kGreater, a, b);
}
Value greater_equal(const Arg& a, const Arg& b) {
  return elementwise(kGreaterEqual, a, b);
}
Value equal(const Arg& a, const Arg& b) {
  return elementwise(kEqual, a, b);
}
Value where(const Arg& condition, const Arg& a, const Arg& b) {
  return elementwise(kWhere, condition, a, b);
}
Value clamp(const Arg& x, const Arg& low, const Arg& high) {
  return elementwise(kClamp, x, low, high);
}
Value neg(Value x) {
  return make_node(kNeg, {x});
}
Value abs(Value x) {
  return make_node(kAbs, {x});
}
Value sqrt(Value x) {
  return make_node(kSqrt, {x});
}
Value rsqrt(Value x) {
  return make_node(kRsqrt, {x});
}
Value square(Value x) {
  return make_node(kSquare, {x});
}
Value exp(Value x) {
  return make_node(kExp, {x});
}
Value log(Value x) {
  return make_node(kLog, {x});
}
Value tanh(Value x) {
  return make_node(kTanh, {x});
}
Value sigmoid(Value x) {
  return make_node(kSigmoid, {x});
}
Value relu(Value x) {
  return make_node(kRelu, {x});
}
Value sign(Value x) {
  return make_node(kSign, {x});
}
Value sin(Value x) {
  return make_node(kSin, {x});
}
Value cos(Value x) {
  return make_node(kCos, {x});
}
Value floor(Value x) {
  return make_node(kFloor, {x});
}
Value round(Value x) {
  return make_node(kRound, {x});
}
Value erf(Value x) {
  return make_node(kErf, {x});
}
Value softplus(Value x) {
  return make_node(kSoftplus, {x});
}
Value detach(Value x) {
  return make_node(kDetach, {x});
}
Value scale_gradient(const Arg& x, const Arg& d) {
  return elementwise(kScaleGradient, x, d);
}

Value gelu(Value x) {
  return x * 0.5 * (erf(x * std::numbers::sqrt2 * 0.5) + 1.0);
}
Value silu(Value x) {
  return x * sigmoid(x);
}
Value leaky_relu(Value x, double slope) {
  return where(greater(x, 0.0), x, x * slope);
}

}  // namespace tessera::ops
