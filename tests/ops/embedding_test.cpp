// Tables by row number: what an embedding layer and a memory that is updated in place need.
#include "ops/embedding/embedding.h"

#include <gtest/gtest.h>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/plan_data.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using test::Case;
using test::make_case;
using test::run_row;
using test::runs_here;
using Doubles = std::vector<double>;

Doubles list(const Tensor& t) {
  Doubles out;
  for (std::int64_t i = 0; i < t.numel(); ++i) out.push_back(element(t, i));
  return out;
}

Tensor filled(DType dtype, const Shape& shape, const Doubles& values) {
  Tensor out(dtype, shape);
  for (std::int64_t i = 0; i < out.numel(); ++i)
    set_element(out, i, values[static_cast<std::size_t>(i) % values.size()]);
  return out;
}

template <class Fn>
void each_row(const Case& c, Fn&& fn) {
  int rows = 0;
  for (const KernelRow& row : c.node->op().rows) {
    if (!runs_here(row)) continue;
    SCOPED_TRACE(row.name);
    const auto run = run_row(c, row);
    if (!run.refusal.empty()) continue;
    fn(run.outputs[0]);
    ++rows;
  }
  EXPECT_EQ(rows, 2);
}

TEST(ScatterRows, TheLastOfEqualNumbersWins) {
  Rng rng(1, 1);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Case c = make_case(kScatterRows,
                             {{{{dtype, {3, 2}, {}}, 0, 0, {1, 2, 3, 4, 5, 6}},
                               {s32({4}), 0, 0, {2, 0, 2, 2}},
                               {f32({4, 2}), 0, 0, {10, 11, 20, 21, 30, 31, 40, 41}}},
                              {}},
                             rng);
    each_row(c, [](const Tensor& out) { EXPECT_EQ(list(out), (Doubles{20, 21, 3, 4, 40, 41})); });
  }
}

// An update of a state writes the rows it names: no second table, no copy.
TEST(ScatterRows, UpdatesAStateInPlace) {
  constexpr std::int64_t kRows = 1000, kDim = 8;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Graph graph(ops::standard_ops());
    const Value table = graph.state("table", {dtype, {kRows, kDim}, {}});
    const Value index = graph.input("index", s32({3}));
    // Reads the rows it replaces.
    const Value fresh = ops::embedding(table, index) + 1.0;
    graph.set_update(table, ops::scatter_rows(table, index, fresh));
    const Plan plan = compile(graph);
    EXPECT_TRUE(plan.data().after.empty());
    EXPECT_TRUE(plan.data().before.empty());
    EXPECT_LT(plan.memory().arena, 1000);
    State state;
    state.set("table", filled(dtype, {kRows, kDim}, {2}));
    RunContext context = plan.context(state);
    context.bind("index", filled(DType::s32, {3}, {999, 0, 500}));
    context.run();
    context.run();
    const Tensor& after = state.get("table");
    for (std::int64_t r = 0; r < kRows; ++r) {
      const bool named = r == 0 || r == 500 || r == 999;
      for (std::int64_t j = 0; j < kDim; ++j) {
        ASSERT_EQ(element(after, r * kDim + j), named ? 4 : 2) << r << " " << j;
      }
    }
  }
}

// As many new rows as the table has: the result must not be written over them.
TEST(ScatterRows, KeepsItsRowsApart) {
  Graph graph(ops::standard_ops());
  const Value table = graph.input("table", f32({2, 1}));
  const Value rows = graph.state("rows", f32({2, 1}));
  graph.set_update(rows, ops::scatter_rows(table, graph.input("index", s32({2})), rows));
  State state;
  state.set("rows", filled(DType::f32, {2, 1}, {7, 8}));
  const Plan plan = compile(graph);
  RunContext context = plan.context(state);
  context.bind("table", filled(DType::f32, {2, 1}, {1, 2}));
  context.bind("index", filled(DType::s32, {2}, {1, 1}));
  context.run();
  EXPECT_EQ(list(state.get("rows")), (Doubles{1, 8}));
}

TEST(Embedding, TrainsThroughAPlan) {
  Graph graph(ops::standard_ops());
  const Value table = graph.input("table", f32({4, 2}));
  const Value index = graph.input("index", {DType::s32, {kBatch, 2}, {}});
  const Value y = ops::embedding(table, index);
  EXPECT_EQ(y.shape(), Shape({kBatch, 2, 2}));
  graph.set_output("y", y);
  graph.set_output("d", grad(ops::sum(y * y) * 0.5, std::vector{table})[0]);
  const Plan plan = compile(graph, State(), {.batch = 3});
  const auto out = plan.run({{"table", filled(DType::f32, {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8})},
                             {"index", filled(DType::s32, {3, 2}, {3, 0, 0, 1, 0, 3})}});
  EXPECT_EQ(list(out.at("y")), (Doubles{7, 8, 1, 2, 1, 2, 3, 4, 1, 2, 7, 8}));
  EXPECT_EQ(list(out.at("d")), (Doubles{3, 6, 3, 4, 0, 0, 14, 16}));
}

TEST(Embedding, NamesTheBadIndex) {
  Rng rng(1, 1);
  const SampleInput table{f32({3, 2})}, rows{f32({4, 2})};
  for (const double bad : {3.0, -1.0, 2147483647.0}) {
    const SampleInput index{s32({4}), 0, 0, {0, 2, bad, bad}};
    const Case cases[] = {
        make_case(kEmbedding, {{table, index}, {}}, rng),
        make_case(kEmbeddingGrad, {{rows, index}, {{"rows", std::int64_t{3}}}}, rng),
        make_case(kScatterRows, {{table, index, rows}, {}}, rng)};
    for (const Case& c : cases) {
      const std::string want = cat("[", c.node->op().name, "] index ", static_cast<int>(bad),
                                   " at position 2 is outside [0, 3)");
      int rows_run = 0;
      for (const KernelRow& row : c.node->op().rows) {
        if (!runs_here(row)) continue;
        try {
          if (!run_row(c, row).refusal.empty()) continue;
          ADD_FAILURE() << row.name;
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find(want), std::string::npos) << error.what();
          ++rows_run;
        }
      }
      EXPECT_EQ(rows_run, 2);
    }
  }
}

TEST(Embedding, RefusesOtherTypes) {
  Graph graph(ops::standard_ops());
  const Value table = graph.input("table", f32({3, 2})), index = graph.input("index", s32({4}));
  EXPECT_THROW(ops::embedding(index, index), Error);
  EXPECT_THROW(ops::embedding(table, table), Error);
  EXPECT_THROW(ops::scatter_rows(table, index, graph.input("a", f32({3, 2}))), Error);
  EXPECT_THROW(ops::scatter_rows(table, graph.input("b", s32({2, 2})), table), Error);
  const Value half = graph.input("half", {DType::bf16, {3, 2}, {}});
  EXPECT_THROW(grad(ops::sum(ops::embedding(half, index)), std::vector{half}), Error);
}

}  // namespace
}  // namespace tessera
