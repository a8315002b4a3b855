// Rules of the elementwise family. What NaN and infinity forbid is left alone: x * 0, x - x, x / x.
#include "ops/rules.h"
#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

Pat x() {
  return Pat::any(0);
}

// `value` when it can stand for the root.
Value same_type(const Match& m, Value value) {
  return value.type() == m.root->types()[0] ? value : Value();
}

Value keep_x(const Match& m) {
  return same_type(m, m[0]);
}

// The root with operand i replaced by what it repeats, where the others give the shape anyway.
Value unbroadcast(const Match& m) {
  const Node& node = *m.root;
  Graph& graph = node.graph();
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    std::vector<Value> inputs(node.inputs().begin(), node.inputs().end());
    const Value v = inputs[i];
    if (&v.node->op() == &kBroadcastTo) {
      inputs[i] = v.node->input(0);
    } else if (const auto number = constant_value(v); number && v.shape().rank() > 0) {
      inputs[i] = graph.constant(*number);
    } else {
      continue;
    }
    Shape shape = inputs[0].shape();
    for (const Value input : inputs) shape = broadcast(shape, input.shape(), node.op().name);
    if (shape == node.types()[0].shape) return graph.add(node.op(), inputs).output();
  }
  return {};
}

}  // namespace

std::vector<Rule> elementwise_rules() {
  const Pat zero = Pat::number(0), one = Pat::number(1);
  std::vector<Rule> rules = {
      {"x + 0", {&kAdd, {x(), zero}}, keep_x},
      {"x - 0", {&kSub, {x(), zero}}, keep_x},
      {"x * 1", {&kMul, {x(), one}}, keep_x},
      {"x / 1", {&kDiv, {x(), one}}, keep_x},
      {"x ^ 1", {&kPow, {x(), one}}, keep_x},
      {"x ^ 2",
       {&kPow, {x(), Pat::number(2)}},
       [](const Match& m) { return same_type(m, ops::square(m[0])); }},
      {"x * -1",
       {&kMul, {x(), Pat::number(-1)}},
       [](const Match& m) { return same_type(m, ops::neg(m[0])); }},
      {"0 - x", {&kSub, {zero, x()}}, [](const Match& m) { return same_type(m, ops::neg(m[0])); }},
      {"-(-x)", {&kNeg, {{&kNeg, {x()}}}}, keep_x},
      {"x + -y",
       {&kAdd, {x(), {&kNeg, {Pat::any(1)}}}},
       [](const Match& m) { return ops::sub(m[0], m[1]); }},
      {"x - -y",
       {&kSub, {x(), {&kNeg, {Pat::any(1)}}}},
       [](const Match& m) { return ops::add(m[0], m[1]); }},
      {"x * x", {&kMul, {x(), x()}}, [](const Match& m) { return ops::square(m[0]); }},
      {"relu of relu",
       {&kRelu, {{&kRelu, {x()}}}},
       [](const Match& m) { return m.root->input(0); }},
      {"x * a * b",
       {&kMul, {{&kMul, {x(), Pat::any(1)}}, Pat::any(2)}},
       [](const Match& m) {
         const bool swapped = constant_value(m[0]).has_value();
         const auto a = constant_value(m[swapped ? 0 : 1]), b = constant_value(m[2]);
         return a && b ? same_type(m, m[swapped ? 1 : 0] * (*a * *b)) : Value();
       }},
      {"where of a constant",
       {&kWhere, {Pat::any(0), Pat::any(1), Pat::any(2)}},
       [](const Match& m) {
         const auto condition = constant_value(m[0]);
         return condition ? same_type(m, *condition != 0 ? m[1] : m[2]) : Value();
       }},
      // No gradient is taken any more.
      {"detach", {&kDetach, {x()}}, keep_x},
      {"scale_gradient", {&kScaleGradient, {x(), Pat::any(1)}}, keep_x},
      {"cast to the same dtype", {&kCast, {x()}}, keep_x},
  };
  static const OpDef* const all[] = {
#define ELEMENTWISE(NAME, OP) &OP,
#include "ops/elementwise/table.inc"
  };
  for (const OpDef* op : all) {
    if (op->inputs.size() < 2) continue;
    std::vector<Pat> inputs;
    for (std::size_t i = 0; i < op->inputs.size(); ++i)
      inputs.push_back(Pat::any(static_cast<int>(i)));
    rules.push_back({"operand broadcast twice", {op, inputs}, unbroadcast});
  }
  return rules;
}

}  // namespace tessera
