// How many threads the steps of a plan get.
#include <gtest/gtest.h>

#include "core/compile.h"
#include "core/op_def.h"
#include "core/parallel.h"
#include "ops/build.h"
#include "ops/op_list.h"

namespace tessera {
namespace {

// Its result: the threads that its row was made for and is run with.
std::vector<TensorType> two_numbers(const InferArgs&) {
  return {f32({2})};
}
KernelPlan prepare(const KernelQuery& query) {
  return {.run = [made = query.threads, bound = num_threads()](const KernelArgs& args) {
    EXPECT_EQ(made, bound);
    args.out().as<float>()[0] = static_cast<float>(made);
    args.out().as<float>()[1] = static_cast<float>(num_threads());
  }};
}
constexpr KernelRow kRows[] = {
    {"threads", kScalar, [](const KernelQuery&) { return std::string(); }, prepare}};
const OpDef kThreads{.name = "test_threads",
                     .doc = "threads",
                     .inputs = {{.name = "x"}},
                     .attrs = {{"work", AttrKind::real, {}}},
                     .infer = two_numbers,
                     .ref = [](const RefArgs&) {},
                     .work = [](const Node& node) { return node.attrs().real("work"); },
                     .rows = kRows};

std::vector<float> threads_of(double work, std::int64_t operand, int threads) {
  static OpSet set = [] {
    OpSet out = ops::standard_ops();
    out.add(kThreads);
    return out;
  }();
  Graph graph(set);
  const Value x = graph.input("x", f32({operand}));
  graph.set_output("y", graph.add(kThreads, {x}, {{"work", work}}).output());
  const Plan plan = compile(graph, {.threads = threads});
  State none;
  RunContext context = plan.context(none);
  const Tensor values = Tensor::zeros(DType::f32, {operand});
  context.bind("x", values);
  context.run();
  return context.output("y").to_vector<float>();
}

TEST(StepThreads, AreOneWhereTheStepIsSmall) {
  using Threads = std::vector<float>;
  EXPECT_EQ(threads_of(1e9, 1, 2), (Threads{2, 2}));  // by its operations
  EXPECT_EQ(threads_of(1e5, 1, 2), (Threads{1, 1}));
  EXPECT_EQ(threads_of(0, 1 << 22, 3), (Threads{3, 3}));  // by its operand's bytes
  EXPECT_EQ(threads_of(1e9, 1, 1), (Threads{1, 1}));
}

}  // namespace
}  // namespace tessera
