// Rules of the movement family: movements that move nothing, and pairs that are one.
#include "ops/rules.h"
#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

Value same_type(const Match& m, Value value) {
  return value.type() == m.root->types()[0] ? value : Value();
}

Value keep_x(const Match& m) {
  return same_type(m, m[0]);
}

// Moving equal elements: the same constant under the new type.
Value move_constant(const Match& m) {
  const auto number = constant_value(m[0]);
  return number ? m.root->graph().constant(*number, m.root->types()[0]) : Value();
}

Value compose_transposes(const Match& m) {
  const Ints& outer = m.root->attrs().integers("perm");
  const Ints& inner = m.root->input(0).node->attrs().integers("perm");
  Ints perm;
  for (const auto axis : outer) perm.push_back(inner[static_cast<std::size_t>(axis)]);
  return ops::transpose(m[0], perm);
}

// Axes of size 1 may move freely; when the others stay in order nothing moves in memory.
Value transpose_in_order(const Match& m) {
  if (!m[0].type().encoding.is_dense()) return {};
  std::int64_t last = -1;
  for (const auto axis : m.root->attrs().integers("perm")) {
    if (m[0].shape()[static_cast<int>(axis)].is_one()) continue;
    if (axis < last) return {};
    last = axis;
  }
  return ops::reshape(m[0], m.root->types()[0].shape);
}

}  // namespace

std::vector<Rule> movement_rules() {
  const Pat x = Pat::any(0);
  std::vector<Rule> rules = {
      {"reshape to the same shape", {&kReshape, {x}}, keep_x},
      {"reshape of reshape",
       {&kReshape, {{&kReshape, {x}}}},
       [](const Match& m) { return ops::reshape(m[0], m.root->types()[0].shape); }},
      {"transpose of transpose", {&kTranspose, {{&kTranspose, {x}}}}, compose_transposes},
      {"transpose that moves nothing", {&kTranspose, {x}}, transpose_in_order},
      {"slice of everything", {&kSlice, {x}}, keep_x},
      {"place into nothing more", {&kPlace, {x}}, keep_x},
      {"concat of one", {&kConcat, {x}}, keep_x},
  };
  for (const OpDef* op : {&kReshape, &kTranspose, &kSlice, &kBroadcastTo}) {
    rules.push_back({"movement of a constant", {op, {x}}, move_constant});
  }
  return rules;
}

}  // namespace tessera
