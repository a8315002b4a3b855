// The IR itself: identity, leaves, updates, gradients, rules, the verifier.
#include "core/graph.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/interpret.h"
#include "core/passes/passes.h"
#include "core/rewrite.h"
#include "core/verify.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::error_of;

TEST(Graph, EqualNodesAreOneNode) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({3})), y = g.input("y", f32({3}));
  EXPECT_EQ(x + y, x + y);
  EXPECT_NE(x + y, y + x);  // rules may reorder, identity does not
  EXPECT_EQ(g.constant(1.0), g.constant(1.0));
  EXPECT_NE(ops::sum(x + y, {0}), ops::sum(x + y, {0}, true));  // attributes count
  EXPECT_EQ(g.input("x", f32({3})), x);
}

TEST(Graph, RandomNodesMergeOnlyWithTheSameId) {
  Graph g(ops::standard_ops());
  const Value seed = g.input("seed", {DType::s64, {}, {}}),
              step = g.input("step", {DType::s64, {}, {}});
  EXPECT_NE(ops::uniform(seed, step, {4}, 1), ops::uniform(seed, step, {4}, 2));
  EXPECT_EQ(ops::uniform(seed, step, {4}, 1), ops::uniform(seed, step, {4}, 1));
}

TEST(Graph, MistakesAreReportedWhereTheyAreMade) {
  Graph g(ops::standard_ops()), other(ops::standard_ops());
  const Value x = g.input("x", f32({32, 784}));
  EXPECT_EQ(error_of([&] { g.param("x", f32({2})); }),
            "[param] 'x' is already a input of type f32[32,784], got param of type f32[2]");
  EXPECT_EQ(error_of([&] {
              ops::matmul(x, g.input("w", f32({300, 783})), false, true);
            }),
            "[matmul] inner dimensions differ: f32[32,784] and f32[300,783] transposed");
  EXPECT_EQ(error_of([&] {
              ops::matmul(x, g.input("r3", f32({1, 2, 3})));
            }),
            "[matmul] expected b of rank 2, got f32[1,2,3]");
  EXPECT_EQ(error_of([&] { g.add(kMatmul, {x}); }), "[matmul] input 'b' is missing");
  EXPECT_EQ(error_of([&] {
              g.add(kMatmul, {x, x}, {{"transpose", true}});
            }),
            "[matmul] has no attribute 'transpose'");
  EXPECT_EQ(error_of([&] {
              g.add(kMatmul, {x, x}, {{"transpose_a", 1.0}});
            }),
            "[matmul] attribute 'transpose_a' must be boolean, got real");
  EXPECT_EQ(error_of([&] {
              g.add(kMatmul, {x, other.input("o", f32({784, 2}))});
            }),
            "[matmul] input 'b' belongs to another graph");
  EXPECT_EQ(error_of([&] { g.output("logits"); }),
            "the graph has no output 'logits'; it has: none");
}

TEST(Graph, AStateIsUpdatedOnce) {
  Graph g(ops::standard_ops());
  const Value s = g.state("s", f32({2}));
  EXPECT_THROW(g.set_update(s, g.constant(1.0)), Error);  // another type
  EXPECT_THROW(g.set_update(s + 1.0, s), Error);          // not a state
  g.set_update(s, s + 1.0);
  EXPECT_EQ(error_of([&] { g.set_update(s, s); }), "'s' is updated twice");
}

TEST(Graph, SpecializeBindsAttributesToo) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({kBatch, 2, 3}));
  g.set_output("y", ops::reshape(x, {kBatch, 6}));
  g.set_output("z", ops::reshape(x, {Dim::symbolic(6)}));
  const Graph bound = specialize(g, 4);
  EXPECT_EQ(bound.output("y").shape(), Shape({4, 6}));
  EXPECT_EQ(bound.output("z").shape(), Shape({24}));
  EXPECT_THROW(specialize(g, 0), Error);
}

TEST(Graph, MovingKeepsValuesUsable) {
  Graph a(ops::standard_ops());
  const Value x = a.input("x", f32({2}));
  Graph b = std::move(a);
  b.set_output("y", x + 1.0);
  EXPECT_EQ(&x.graph(), &b);
}

double gradient_at(const std::function<Value(Value)>& f, double x0) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({}));
  const Value wrt[] = {x};
  const Value d = grad(f(x), wrt)[0];
  return interpret(g, {{"x", {f32({}), {x0}}}}, {d})[0].v[0];
}

TEST(Grad, SharedValuesAccumulate) {
  EXPECT_NEAR(gradient_at([](Value x) { return x * x * x; }, 2), 12, 1e-12);
  EXPECT_NEAR(
      gradient_at([](Value x) { return ops::tanh(x) * ops::exp(x) + x; }, 0.3),
      (1 - std::tanh(0.3) * std::tanh(0.3)) * std::exp(0.3) + std::tanh(0.3) * std::exp(0.3) + 1,
      1e-12);
  EXPECT_NEAR(gradient_at([](Value x) { return ops::detach(x) * x; }, 3), 3, 1e-12);
}

TEST(Grad, IndependentValuesGetZerosAndLossMustBeScalar) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({2})), y = g.input("y", f32({3, 4}));
  const Value wrt[] = {y};
  const Value d = grad(ops::sum(x), wrt)[0];
  EXPECT_EQ(d.shape(), Shape({3, 4}));
  EXPECT_EQ(constant_value(d), 0.0);
  EXPECT_EQ(error_of([&] { grad(x, wrt); }), "[grad] loss must be a scalar f32, got f32[2]");
}

TEST(Grad, SecondDerivative) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({}));
  const Value wrt[] = {x};
  const Value first = grad(ops::exp(x * x), wrt)[0];
  const Value second = grad(first, wrt)[0];
  const double at = interpret(g, {{"x", {f32({}), {0.5}}}}, {second})[0].v[0];
  EXPECT_NEAR(at, (2 + 4 * 0.25) * std::exp(0.25), 1e-10);
}

TEST(Rewrite, RulesMatchCommutedOperandsAndCountHits) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({3}));
  g.set_output("y", 1.0 * (x + 0.0) + 0.0);
  PassContext context;
  const Graph simple = simplify(g, context);
  EXPECT_EQ(simple.output("y").node->op().name, "input");
  EXPECT_FALSE(context.rule_hits.empty());
}

TEST(Rewrite, ACaptureUsedTwiceMustBindOneValue) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({3})), y = g.input("y", f32({3}));
  const Pat same{&kSub, {Pat::any(0), Pat::any(0)}};
  Match one, two;
  EXPECT_TRUE(match(same, x - x, one));
  EXPECT_FALSE(match(same, x - y, two));
}

TEST(Rewrite, ARuleThatDoesNotEndIsNamed) {
  RuleSet rules;
  rules.add({{"grow", {&kNeg, {Pat::any(0)}}, [](const Match& m) {
                return ops::neg(ops::neg(ops::neg(m[0])));
              }}});
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({3}));
  try {
    rules.apply(ops::neg(x));
    FAIL();
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("grow"), std::string::npos);
  }
}

TEST(Verify, NamesThePassAndTheNode) {
  Graph g(ops::standard_ops());
  g.set_output("y", ops::relu(g.input("x", f32({kBatch, 3}))));
  verify(g, Level::built, "test");
  try {
    verify(g, Level::bound, "some-pass");
    FAIL();
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("after some-pass: node %0"), std::string::npos)
        << error.what();
  }
}

TEST(OpSet, UsersCanAddOps) {
  static const OpDef twice{
      .name = "twice",
      .doc = "2 x",
      .inputs = {{.name = "x"}},
      .infer = [](const InferArgs& args) { return std::vector<TensorType>{args.in(0)}; },
      .decompose = [](const Node&,
                      std::span<const Value> in) { return std::vector<Value>{in[0] + in[0]}; }};
  OpSet set = ops::standard_ops();
  set.add(twice);
  EXPECT_THROW(set.add(twice), Error);
  Graph g(set);
  const Value x = g.input("x", f32({3}));
  g.set_output("y", g.add(twice, {x}).output());
  // The gradient comes from the decomposition too.
  const Value wrt[] = {x};
  const Value d = grad(ops::sum(ops::square(g.output("y"))), wrt)[0];
  EXPECT_EQ(interpret(g, {{"x", {f32({3}), {1, 2, 3}}}}, {d})[0].v,
            (std::vector<double>{8, 16, 24}));
  const Plan plan = compile(g);
  State none;
  RunContext context = plan.context(none);
  context.bind("x", Tensor::full({3}, 4));
  context.run();
  EXPECT_EQ(context.output("y").span<float>()[1], 8);
}

}  // namespace
}  // namespace tessera
