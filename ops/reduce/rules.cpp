// Rules of the reduce family: reductions over nothing, and counts that are known.
#include "ops/rules.h"
#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

Value keep_x(const Match& m) {
  return m[0].type() == m.root->types()[0] ? m[0] : Value();
}

Value known_count(const Match& m) {
  double n = 1;
  const Shape& shape = m[0].shape();
  for (const auto axis : normalize_axes("count", m.root->attrs().integers("axes"), shape)) {
    const Dim dim = shape[static_cast<int>(axis)];
    if (dim.is_symbolic()) return {};
    n *= static_cast<double>(dim.value());
  }
  return m.root->graph().constant(n);
}

// A sum or maximum over axes of size 1 moves nothing.
Value reduce_ones(const Match& m) {
  const Shape& shape = m[0].shape();
  for (const auto axis : normalize_axes("sum", m.root->attrs().integers("axes"), shape)) {
    if (!shape[static_cast<int>(axis)].is_one()) return {};
  }
  return m[0].type().encoding.is_dense() ? ops::reshape(m[0], m.root->types()[0].shape) : Value();
}

// Summing a broadcast back multiplies by the number of copies.
Value sum_of_copies(const Match& m) {
  if (!(m[0].type() == m.root->types()[0])) return {};
  const Shape& large = m.root->input(0).shape();
  if (large.is_symbolic() || m[0].shape().is_symbolic() || m[0].shape().numel() == 0) return {};
  return m[0] * (static_cast<double>(large.numel()) / static_cast<double>(m[0].shape().numel()));
}

}  // namespace

std::vector<Rule> reduce_rules() {
  const Pat x = Pat::any(0);
  return {
      {"count of a known shape", {&kCount, {x}}, known_count},
      {"sum over ones", {&kSum, {x}}, reduce_ones},
      {"max over ones", {&kMax, {x}}, reduce_ones},
      {"sum_to the same shape", {&kSumTo, {x}}, keep_x},
      {"sum_to of sum_to",
       {&kSumTo, {{&kSumTo, {x}}}},
       [](const Match& m) { return ops::sum_to(m[0], m.root->types()[0].shape); }},
      {"sum_to of broadcast_to", {&kSumTo, {{&kBroadcastTo, {x}}}}, sum_of_copies},
      {"broadcast_to the same shape", {&kBroadcastTo, {x}}, keep_x},
      {"broadcast_to of broadcast_to",
       {&kBroadcastTo, {{&kBroadcastTo, {x}}}},
       [](const Match& m) { return ops::broadcast_to(m[0], m.root->types()[0].shape); }},
  };
}

}  // namespace tessera
