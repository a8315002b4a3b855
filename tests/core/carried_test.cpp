// Values carried from run to run.
#include <gtest/gtest.h>

#include "core/compile.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::error_of;

// total.next = total + x, and twice that as an output; `other` only has the name of an output.
Graph running_total() {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({kBatch, 2})),
              total = graph.input("total", f32({kBatch, 2}));
  graph.set_output("total.next", total + x);
  graph.set_output("twice", (total + x) * 2.0);
  graph.set_output("x", x);           // no next value
  graph.set_output("twice.next", x);  // of no input
  return graph;
}

std::vector<float> twice(RunContext& context) {
  context.run();
  return context.output("twice").to_vector<float>();
}

TEST(Carried, GoesOnFromRunToRun) {
  const Graph graph = running_total();
  ASSERT_EQ(carried_inputs(graph).size(), 1u);
  EXPECT_EQ(carried_inputs(graph)[0]->name(), "total");
  const Plan plan = compile(graph, State(), {.batch = 1});
  EXPECT_EQ(plan.carried().size(), 1u);
  const Tensor x = Tensor::from(std::vector<float>{1, 3}, Shape{1, 2});
  RunContext context = plan.context();
  context.bind("x", x);
  context.restart();  // before the first run it has nothing to do
  EXPECT_EQ(twice(context), (std::vector<float>{2, 6}));
  EXPECT_EQ(twice(context), (std::vector<float>{4, 12}));
  RunContext other = plan.context();  // has its own
  other.bind("x", x);
  EXPECT_EQ(twice(other), (std::vector<float>{2, 6}));
  EXPECT_EQ(twice(context), (std::vector<float>{6, 18}));
  context.restart();
  EXPECT_EQ(twice(context), (std::vector<float>{2, 6}));
  EXPECT_EQ(plan.run({{"x", x}}).at("twice").to_vector<float>(), (std::vector<float>{2, 6}));
}

TEST(Carried, WhatIsBoundStaysWhatItWas) {
  const Plan plan = compile(running_total(), State(), {.batch = 1});
  const Tensor x = Tensor::from(std::vector<float>{1, 3}, Shape{1, 2});
  const Tensor ten = Tensor::from(std::vector<float>{10, 10}, Shape{1, 2});
  RunContext context = plan.context();
  context.bind("x", x);
  context.bind("total", ten);
  EXPECT_EQ(twice(context), (std::vector<float>{22, 26}));
  context.restart();
  EXPECT_EQ(twice(context), (std::vector<float>{22, 26}));
  EXPECT_EQ(ten.to_vector<float>(), (std::vector<float>{10, 10}));
  // Carried in a tensor of the caller's.
  context.carry("total", ten);
  EXPECT_EQ(twice(context), (std::vector<float>{22, 26}));
  EXPECT_EQ(ten.to_vector<float>(), (std::vector<float>{11, 13}));
  EXPECT_EQ(twice(context), (std::vector<float>{24, 32}));
  context.restart();
  EXPECT_EQ(ten.to_vector<float>(), (std::vector<float>{0, 0}));
  EXPECT_EQ(error_of([&] { context.carry("x", x); }), "the plan carries no input 'x'");
  EXPECT_NE(error_of([&] {
              context.carry("total", Tensor(DType::f32, Shape{2, 2}));
            }).find("the plan needs f32[1,2]"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera
