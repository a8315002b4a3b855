#include "core/graph_text.h"

#include <gtest/gtest.h>

#include "core/compile.h"
#include "core/plan_data.h"
#include "tests/core/sample_models.h"

namespace tessera {
namespace {

void expect_round_trip(const Graph& graph) {
  const std::string text = graph_text(graph);
  const Graph again = parse_graph(graph.ops(), text);
  EXPECT_EQ(graph_text(again), text);
  ASSERT_EQ(again.nodes().size(), graph.nodes().size());
  for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
    EXPECT_EQ(again.nodes()[i].types(), graph.nodes()[i].types());
    EXPECT_EQ(again.nodes()[i].attrs(), graph.nodes()[i].attrs());
    EXPECT_EQ(again.nodes()[i].name(), graph.nodes()[i].name());
  }
}

TEST(GraphText, ReadsWell) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({kBatch, 4}));
  const Value w = graph.param("fc1.weight", f32({3, 4}));
  const Value y = ops::matmul(x, w, false, true);
  graph.set_output("logits", ops::tanh(y) * 2.0);
  EXPECT_EQ(graph_text(graph),
            "%0: f32[batch,4] = input \"x\"\n"
            "%1: f32[3,4] = param \"fc1.weight\"\n"
            "%2: f32[batch,3] = matmul(%0, %1) {transpose_b=true}\n"
            "%3: f32[batch,3] = tanh(%2)\n"
            "%4: f32[] = constant {value=2.0}\n"
            "%5: f32[batch,3] = mul(%3, %4)\n"
            "output \"logits\" = %5\n");
}

TEST(GraphText, RoundTrips) {
  expect_round_trip(Graph(ops::standard_ops()));
  expect_round_trip(testing::awkward_graph());
  expect_round_trip(testing::small_model().graph);
  const Model lenet = testing::packed_mlp({784, 300, 100, 10}, {.bits = 1}, 2);
  expect_round_trip(lenet.graph);
  expect_round_trip(specialize(lenet.graph, 7));
}

TEST(GraphText, RoundTripsCompiledGraphs) {
  const Model model = testing::packed_mlp({20, 30, 10}, {.bits = 4}, 16);
  for (const std::int64_t batch : {1, 64}) {
    expect_round_trip(compile(model, {.batch = batch}).data().graph);
  }
}

TEST(GraphText, RoundTripsEveryOp) {
  Rng rng(3, 3);
  int count = 0;
  for (const OpDef* op : ops::standard_ops().all()) {
    for (int i = 0; op->sample != nullptr; ++i) {
      const auto sample = op->sample(rng, i);
      if (!sample) break;
      SCOPED_TRACE(cat(op->name, " ", i));
      expect_round_trip(testing::sample_graph(*op, *sample));
      ++count;
    }
  }
  EXPECT_GT(count, 100);
}

TEST(GraphText, SkipsCommentsAndEmptyLines) {
  const Graph graph = parse_graph(ops::standard_ops(),
                                  "# after fold\n\n%0: f32[2] = input \"x\"\noutput \"y\" = %0");
  EXPECT_EQ(graph.output("y").type(), f32({2}));
}

TEST(GraphText, SaysWhichLineIsWrong) {
  const std::string x = "%0: f32[2] = input \"x\"\n";
  struct Case {
    std::string text, message;
  };
  const std::vector<Case> cases = {
      {"hello", "line 1: expected a node, output or update at 'hello'"},
      {"\n%x: f32[] = input \"x\"", "line 2: expected a number at 'x: f32[] = input \"x\"'"},
      {"%0 f32[2]", "line 1: expected ': ' at ' f32[2]'"},
      {"%0: = input \"x\"", "line 1: expected a type at '= input \"x\"'"},
      {"%0: f99[2] = input \"x\"", "line 1: unknown dtype in type 'f99[2]'"},
      {"%0: f32[-2] = input \"x\"", "line 1: expected a shape such as [batch,784], got '[-2]'"},
      {"%0: f32[2]@cb9 = param \"x\"", "line 1: codebook bits must be 1 to 8, got 'cb9'"},
      {"%0: f32[2] = input", "line 1: expected ' ' at the end"},
      {"%0: f32[2] = input \"x", "line 1: expected a closing quote at the end"},
      {"%0: f32[2] = input \"\\xg0\"", "line 1: expected two hexadecimal digits at 'g0\"'"},
      {"%0: f32[2] = input \"x\" here", "line 1: expected the end of the line at ' here'"},
      {x + x, "line 2: %0 is defined twice"},
      {x + "%1: f32[2] = param \"x\"", "line 2: 'x' is defined twice"},
      {x + "%1: f32[2] = frobnicate(%0)", "line 2: unknown op 'frobnicate'"},
      {x + "%1: f32[2] = tanh(%1)", "line 2: %1 is not defined above this line"},
      {x + "%1: f32[2] = tanh(%0.1)", "line 2: %0 has 1 results, got .1"},
      {x + "%1: f32[2] = tanh(_)", "line 2: [tanh] input 'x' is missing"},
      {x + "%1: f32[2] = tanh(%0", "line 2: expected ')' at the end"},
      {x + "%1: f32[3] = tanh(%0)", "line 2: [tanh] gives f32[2], the line says f32[3]"},
      {x + "%1: f32[2] = tanh(%0) {a=1}", "line 2: [tanh] has no attribute 'a'"},
      {"%0: f32[] = constant {value=1.0, value=2.0}", "line 1: attribute 'value' is given twice"},
      {"%0: f32[] = constant {value=x}",
       "line 1: [constant] attribute 'value': expected real, got 'x'"},
      {x + "output \"y\" = %7", "line 2: %7 is not defined above this line"},
      {x + "output \"y\" = %0\noutput \"y\" = %0", "line 3: output 'y' is set twice"},
      {x + "update %0 = %0", "line 2: only a param or a state can be updated"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    try {
      parse_graph(ops::standard_ops(), c.text);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()), c.message);
    }
  }
}

}  // namespace
}  // namespace tessera
