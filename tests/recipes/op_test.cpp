// The op that tests/recipes/run.sh adds: its builder is there, and plans compute it in vectors.
#include <gtest/gtest.h>

#include "core/compile.h"
#include "ops/build.h"
#include "ops/op_list.h"

namespace tessera {
namespace {

TEST(Recipe, TheNewOpHasABuilderAndRuns) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({3}));
  graph.set_output("y", ops::softsign(x) * 2.0);
  const auto y =
      compile(graph).run({{"x", Tensor::from(std::vector<float>{-1, 0, 3}, {3})}}).at("y");
  EXPECT_FLOAT_EQ(y.span<float>()[0], -1);
  EXPECT_FLOAT_EQ(y.span<float>()[1], 0);
  EXPECT_FLOAT_EQ(y.span<float>()[2], 1.5);
}

}  // namespace
}  // namespace tessera
