// batched_matmul beyond its samples: sizes, threads, gradients of broadcast operands, refusals.
#include <gtest/gtest.h>

#include "core/autodiff.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/error_of.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using testing::error_of;

TEST(BatchedMatmul, SizesAndThreads) {
  Rng rng(4, 1);
  struct Problem {
    Shape a, b;
    bool ta, tb;
  };
  const Problem problems[] = {
      {{2, 8, 67, 33}, {2, 8, 65, 33}, false, true},   // scores
      {{2, 8, 67, 65}, {2, 8, 65, 33}, false, false},  // values
      {{9, 130, 70}, {130, 50}, true, false},
      {{300, 200}, {1, 200, 170}, false, false},  // one, which threads share
      {{2, 256, 65}, {2, 256, 65}, true, false},
      {{0, 3, 4}, {4, 5}, false, false},
      {{3, 0, 4}, {3, 4, 5}, false, false},
      {{std::int64_t{1} << 30, 0, 4}, {4, 5}, false, false},
      {{3, 2, 0}, {3, 0, 5}, false, false}};
  const int before = num_threads();
  for (const Problem& p : problems) {
    SCOPED_TRACE(cat(p.a, " ", p.b));
    const test::Case c = test::make_case(kBatchedMatmul,
                                         {{{{DType::f32, p.a, {}}}, {{DType::f32, p.b, {}}}},
                                          {{"transpose_a", p.ta}, {"transpose_b", p.tb}}},
                                         rng);
    const auto want = c.reference()[0];
    for (const KernelRow& row : kBatchedMatmul.rows) {
      if (!test::runs_here(row)) continue;
      std::vector<Tensor> first;
      for (const int threads : {1, 2, 3}) {
        set_num_threads(threads);
        auto run = test::run_row(c, row);
        ASSERT_EQ(run.refusal, "");
        if (first.empty()) first = run.outputs;
        EXPECT_TRUE(equal_bits(first[0], run.outputs[0])) << row.name << " " << threads;
      }
      ASSERT_EQ(first[0].numel(), want.numel());
      for (std::int64_t i = 0; i < want.numel(); ++i)
        ASSERT_NEAR(element(first[0], i), want.v[static_cast<std::size_t>(i)], 5e-5) << row.name;
    }
  }
  set_num_threads(before);
}

TEST(BatchedMatmul, GradientsAreOfTheOperandsShapes) {
  Graph graph(ops::standard_ops());
  const Value a = graph.input("a", {DType::f32, {kBatch, 1, 3, 4}, {}}),
              b = graph.input("b", f32({5, 2, 4}));
  const Value y = ops::batched_matmul(a, b, false, true);
  EXPECT_EQ(y.type().text(), "f32[batch,5,3,2]");
  const auto d = grad(ops::sum(y), std::vector{a, b});
  EXPECT_EQ(d[0].shape(), a.shape());
  EXPECT_EQ(d[1].shape(), b.shape());
}

TEST(BatchedMatmul, Refusals) {
  Graph graph(ops::standard_ops());
  const Value a = graph.input("a", f32({2, 3, 4})), b = graph.input("b", f32({3, 4, 5})),
              square = graph.input("s", f32({2, 5, 5})), line = graph.input("l", f32({4}));
  EXPECT_EQ(error_of([&] { ops::batched_matmul(a, square); }),
            "[batched_matmul] inner dimensions differ: f32[2,3,4] and f32[2,5,5]");
  EXPECT_EQ(error_of([&] { ops::batched_matmul(a, square, true, true); }),
            "[batched_matmul] inner dimensions differ: f32[2,3,4] transposed and f32[2,5,5] "
            "transposed");
  EXPECT_NE(error_of([&] { ops::batched_matmul(a, b); }).find("[batched_matmul]"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { ops::batched_matmul(a, line); }),
            "[batched_matmul] expected [..., rows, columns], got f32[4]");
}

}  // namespace
}  // namespace tessera
