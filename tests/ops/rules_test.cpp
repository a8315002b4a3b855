// Every rewrite rule has a case in which it fires; the value and its type stay what they were.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/interpret.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "ops/rules.h"
#include "ops/sparse/sparse.h"

namespace tessera {
namespace {

struct RuleCase {
  std::string_view rule;
  Value (*build)(Value x, Value y);  // x f32[2,3], y f32[3]
};

Value full(Value x, double value) {
  return x.graph().constant(value, x.type());
}

// codebook + sparse, of twelve elements; the test below gives the leaves.
Value corrected(Value x, const Shape& shape) {
  Graph& g = x.graph();
  const Value base = ops::codebook(g.param("indices", {DType::u8, {2}, {}}),
                                   g.param("entries", f32({1, 2})), {}, {.bits = 1}, shape);
  return base + ops::sparse(g.param("positions", {DType::u8, {2}, {}}), g.param("values", f32({2})),
                            shape);
}

const RuleCase kCases[] = {
    {"x + 0", [](Value x, Value) { return 0.0 + x; }},
    {"x - 0", [](Value x, Value) { return x - 0.0; }},
    {"x * 1", [](Value x, Value) { return 1.0 * x; }},
    {"x / 1", [](Value x, Value) { return x / 1.0; }},
    {"x ^ 1", [](Value x, Value) { return ops::pow(x, 1.0); }},
    {"x ^ 2", [](Value x, Value) { return ops::pow(x, 2.0); }},
    {"x * -1", [](Value x, Value) { return x * -1.0; }},
    {"0 - x", [](Value x, Value) { return 0.0 - x; }},
    {"-(-x)", [](Value x, Value) { return -(-x); }},
    {"x + -y", [](Value x, Value y) { return -y + x; }},
    {"x - -y", [](Value x, Value y) { return x - -y; }},
    {"x * x", [](Value x, Value) { return x * x; }},
    {"relu of relu", [](Value x, Value) { return ops::relu(ops::relu(x)); }},
    {"x * a * b", [](Value x, Value) { return 2.0 * x * 3.0; }},
    {"where of a constant", [](Value x, Value) { return ops::where(1.0, x, x + 1.0); }},
    {"detach", [](Value x, Value) { return ops::detach(x); }},
    {"scale_gradient", [](Value x, Value y) { return ops::scale_gradient(x, y); }},
    {"cast to the same dtype",
     [](Value x, Value) {
       return x.graph().add(kCast, {x}, {{"dtype", DType::f32}}).output();
     }},
    {"operand broadcast twice",
     [](Value x, Value y) { return x * ops::broadcast_to(y, x.shape()); }},
    {"operand broadcast twice", [](Value x, Value) { return ops::maximum(full(x, 0.25), x); }},
    {"reshape to the same shape",
     [](Value x, Value) {
       return x.graph().add(kReshape, {x}, {{"shape", x.shape()}}).output();
     }},
    {"reshape of reshape",
     [](Value x, Value) {
       return ops::reshape(ops::reshape(x, {6}), {3, 2});
     }},
    {"transpose of transpose",
     [](Value x, Value) {
       return ops::transpose(ops::transpose(ops::reshape(x, {2, 1, 3}), {1, 2, 0}), {2, 0, 1});
     }},
    {"transpose that moves nothing",
     [](Value x, Value) {
       return ops::transpose(ops::reshape(x, {2, 1, 3}), {1, 0, 2});
     }},
    {"slice of everything", [](Value x, Value) { return ops::slice(x, 1, 0, 3); }},
    {"place into nothing more", [](Value x, Value) { return ops::place(x, 1, 0, 3); }},
    {"concat of one", [](Value x, Value) { return ops::concat({x}, 0); }},
    {"movement of a constant", [](Value x, Value) { return ops::reshape(full(x, 2), {6}); }},
    {"movement of a constant", [](Value x, Value) { return ops::transpose(full(x, 2)); }},
    {"movement of a constant", [](Value x, Value) { return ops::slice(full(x, 2), 0, 1, 2); }},
    {"movement of a constant",
     [](Value x, Value) {
       return ops::broadcast_to(full(x, 2), {4, 2, 3});
     }},
    {"count of a known shape", [](Value x, Value) { return ops::count(x, {1}); }},
    {"sum over ones",
     [](Value x, Value) {
       return ops::sum(ops::reshape(x, {2, 1, 3}), {1});
     }},
    {"max over ones",
     [](Value x, Value) {
       return ops::max(ops::reshape(x, {2, 1, 3}), {1});
     }},
    {"sum_to the same shape",
     [](Value x, Value) {
       return x.graph().add(kSumTo, {x}, {{"shape", x.shape()}}).output();
     }},
    {"sum_to of sum_to", [](Value x, Value) { return ops::sum_to(ops::sum_to(x, {3}), {}); }},
    {"sum_to of broadcast_to",
     [](Value x, Value) {
       return ops::sum_to(ops::broadcast_to(x, {5, 2, 3}), {2, 3});
     }},
    {"broadcast_to the same shape",
     [](Value x, Value) {
       return x.graph().add(kBroadcastTo, {x}, {{"shape", x.shape()}}).output();
     }},
    {"broadcast_to of broadcast_to",
     [](Value, Value y) {
       return ops::broadcast_to(ops::broadcast_to(y, {2, 3}), {4, 2, 3});
     }},
    {"matmul of codebook + sparse",
     [](Value x, Value) {
       return ops::matmul(x, corrected(x, {4, 3}), false, true);
     }},
    {"matmul of codebook + sparse",
     [](Value x, Value) {
       return ops::matmul(x, corrected(x, {3, 4}));
     }},
    {"conv2d of codebook + sparse",
     [](Value x, Value) {
       return ops::conv2d(ops::reshape(x, {1, 1, 2, 3}), corrected(x, {4, 1, 1, 3}),
                          {.padding = {0, 1, 0, 1}});
     }},
};

TEST(Rules, KeepValuesAndTypes) {
  for (const RuleCase& rule_case : kCases) {
    SCOPED_TRACE(rule_case.rule);
    Graph graph(ops::standard_ops());
    const Value x = graph.input("x", f32({2, 3})), y = graph.input("y", f32({3}));
    const Value before = rule_case.build(x, y);
    std::map<std::string, int> hits;
    const Value after = graph.ops().rules().apply(before, &hits);
    EXPECT_GE(hits[std::string(rule_case.rule)], 1);
    EXPECT_FALSE(before == after);
    EXPECT_EQ(before.type(), after.type());
    const RefMap leaves = {
        {"x", {x.type(), {0.5, -1, 2, 0, 3, -0.25}}},      {"y", {y.type(), {1, -2, 0.5}}},
        {"indices", {{DType::u8, {2}, {}}, {0xa5, 0x06}}}, {"entries", {f32({1, 2}), {-1, 0.5}}},
        {"positions", {{DType::u8, {2}, {}}, {1, 5}}},     {"values", {f32({2}), {2, -3}}}};
    const auto results = interpret(graph, leaves, {before, after});
    for (std::size_t i = 0; i < results[0].v.size(); ++i) {
      EXPECT_NEAR(results[0].v[i], results[1].v[i], 1e-12);
    }
  }
}

TEST(Rules, EachHasACase) {
  std::set<std::string_view> covered;
  for (const RuleCase& rule_case : kCases) covered.insert(rule_case.rule);
  for (const auto& rules :
       {elementwise_rules(), movement_rules(), reduce_rules(), sparse_rules()}) {
    for (const Rule& rule : rules) EXPECT_TRUE(covered.contains(rule.name)) << rule.name;
  }
}

TEST(Rules, LeaveOtherValuesAlone) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({2, 3})), y = graph.input("y", f32({3}));
  const Value wide = graph.constant(0.0, f32({4, 2, 3}));
  for (const Value v : {x * 0.0, x - x, x / x, ops::transpose(x), ops::sum(x, {0}), x + wide,
                        ops::slice(x, 1, 0, 2), x + y,
                        ops::count(graph.input("b", {DType::f32, {kBatch, 3}, {}}), {0})}) {
    const Value after = graph.ops().rules().apply(v);
    // The addition of a wide zero may read a scalar, but must stay wide.
    EXPECT_EQ(after.type(), v.type());
    EXPECT_TRUE(v == x + wide || after == v) << v.node->op().name;
  }
}

}  // namespace
}  // namespace tessera
