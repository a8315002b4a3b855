// Plans of graphs with codebook storage: what runs from indices, what is decoded, frozen and live.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/interpret.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/core/tensors.h"

namespace tessera {
namespace {

using testing::expect_near;
using testing::random_tensor;

struct Packed {
  Graph graph{ops::standard_ops()};
  State state;
  static constexpr std::int64_t kRows = 96, kCols = 128;

  Packed() {
    const CodebookFormat format{.bits = 2};
    const Shape shape{kRows, kCols};
    const Value w =
        ops::codebook(graph.param("w.indices", {DType::u8, format.indices_shape(shape), {}}),
                      graph.param("w.entries", f32({1, 4})), {}, format, shape);
    graph.set_output("y", ops::linear(graph.input("x", f32({kBatch, kCols})), w));
    Tensor indices(DType::u8, format.indices_shape(shape));
    Rng rng(1, 1);
    for (auto& v : indices.span<std::uint8_t>()) v = static_cast<std::uint8_t>(rng.next_u32());
    state.set("w.indices", indices);
    state.set("w.entries", Tensor::from(std::vector<float>{-1, -0.25f, 0.5f, 2}, {1, 4}));
  }
  std::vector<double> reference(const Tensor& x) const {
    std::vector<double> out;
    for (std::int64_t n = 0; n < x.shape()[0].value(); ++n) {
      for (std::int64_t r = 0; r < kRows; ++r) {
        double sum = 0;
        for (std::int64_t c = 0; c < kCols; ++c) {
          const auto index =
              index_at(state.get("w.indices").span<std::uint8_t>().data(), 2, r * kCols + c);
          sum += element(x, n * kCols + c) * element(state.get("w.entries"), index);
        }
        out.push_back(sum);
      }
    }
    return out;
  }
};

TEST(CompilePacked, FrozenPackedPlanHoldsNoDenseWeights) {
  const Packed net;
  for (const std::int64_t batch : {1, 4, 64}) {
    const std::int64_t dense = Packed::kRows * Packed::kCols * 4;
    const auto before = allocation_count();
    reset_allocation_peak();
    const Plan plan = compile(net.graph, net.state, {.batch = batch, .packed_only = true});
    RunContext context = plan.context();
    const Tensor x = random_tensor({batch, Packed::kCols}, 9);
    context.bind("x", x);
    context.run();
    expect_near(context.output("y"), net.reference(x), 1e-4, "y");
    EXPECT_TRUE(plan.decoded().empty());
    const std::int64_t weights = plan.memory().persistent + plan.memory().states;
    EXPECT_LE(weights, dense / 16 + 1024) << "batch " << batch;
    EXPECT_LT(allocation_count().live_bytes - before.live_bytes - plan.memory().arena -
                  plan.memory().scratch - x.bytes() - context.output("y").bytes(),
              dense / 4);
  }
}

TEST(CompilePacked, WholeTensorDecodeIsListedAndCanBeRefused) {
  // No kernel takes a codebook operand on the left of a product: it is decoded, and said so.
  Graph g(ops::standard_ops());
  const CodebookFormat format{.bits = 2};
  const Shape shape{4, 8};
  const Value w = ops::codebook(g.param("w.indices", {DType::u8, format.indices_shape(shape), {}}),
                                g.param("w.entries", f32({1, 4})), {}, format, shape);
  g.set_output("y", ops::matmul(w, g.input("x", f32({8, 3}))));
  State state;
  state.set("w.indices", Tensor(DType::u8, format.indices_shape(shape)));
  state.set("w.entries", Tensor::from(std::vector<float>{2, 3, 4, 5}, {1, 4}));
  const Plan plan = compile(g, state, {});
  ASSERT_EQ(plan.decoded().size(), 1u);
  EXPECT_NE(plan.decoded()[0].find("128 bytes"), std::string::npos) << plan.decoded()[0];
  const auto y = plan.run({{"x", Tensor::full({8, 3}, 1)}}).at("y");
  EXPECT_EQ(y.span<float>()[0], 16);
  EXPECT_THROW(compile(g, state, {.packed_only = true}), Error);
}

TEST(CompilePacked, AReshapeReadsTheElementsOfCodebookStorage) {
  const Packed net;
  Graph g(ops::standard_ops());
  const CodebookFormat format{.bits = 2};
  const Shape shape{Packed::kRows, Packed::kCols};
  const Value w = ops::codebook(g.param("w.indices", {DType::u8, format.indices_shape(shape), {}}),
                                g.param("w.entries", f32({1, 4})), {}, format, shape);
  g.set_output("flat", ops::reshape(w, {Packed::kRows * Packed::kCols}));
  g.set_output("decoded", ops::decode(w));
  const Plan plan = compile(g, net.state, {});
  EXPECT_EQ(plan.decoded().size(), 1u);  // one decode serves both
  const auto out = plan.run({});
  for (const std::int64_t i : {0, 1, 77, 96 * 128 - 1}) {
    const auto index = index_at(net.state.get("w.indices").span<std::uint8_t>().data(), 2, i);
    EXPECT_EQ(element(out.at("flat"), i), element(net.state.get("w.entries"), index));
    EXPECT_EQ(element(out.at("decoded"), i), element(out.at("flat"), i));
  }
}

TEST(CompilePacked, LivePlanRepacksWhenAParameterChanges) {
  Packed net;
  const Plan plan = compile(net.graph, {.batch = 2});
  RunContext context = plan.context(net.state);
  const Tensor x = random_tensor({2, Packed::kCols}, 3);
  context.bind("x", x);
  context.run();
  expect_near(context.output("y"), net.reference(x), 1e-4, "before");
  net.state.set("w.entries", Tensor::from(std::vector<float>{5, 6, 7, -8}, {1, 4}));
  context.run();
  expect_near(context.output("y"), net.reference(x), 1e-3, "after");
}

TEST(CompilePacked, FrozenPlanServesManyThreads) {
  const Packed net;
  const Plan plan = compile(net.graph, net.state, {.batch = 3, .threads = 1});
  std::vector<std::thread> threads;
  std::vector<int> bad(4);
  for (std::size_t t = 0; t < bad.size(); ++t) {
    threads.emplace_back([&, t] {
      RunContext context = plan.context();
      const Tensor x = random_tensor({3, Packed::kCols}, 20 + t);
      const auto wanted = net.reference(x);
      context.bind("x", x);
      for (int i = 0; i < 20; ++i) {
        context.run();
        for (std::int64_t e = 0; e < context.output("y").numel(); ++e) {
          bad[t] += std::abs(element(context.output("y"), e) -
                             wanted[static_cast<std::size_t>(e)]) > 1e-4;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const int b : bad) EXPECT_EQ(b, 0);
}

TEST(CompilePacked, FrozenPlanKeepsItsValues) {
  Packed net;
  const Plan plan = compile(net.graph, net.state, {.batch = 1});
  const Tensor x = random_tensor({1, Packed::kCols}, 3);
  const auto wanted = net.reference(x);
  net.state.set("w.entries", Tensor::full({1, 4}, 0));
  expect_near(plan.run({{"x", x}}).at("y"), wanted, 1e-4, "y");
}

TEST(CompilePacked, TrainsThroughCodebookStorage) {
  // entries' = entries - 0.001 d loss / d entries, with the weight kept as indices and entries.
  Packed net;
  Graph& g = net.graph;
  const Value y = g.output("y");
  const Value entries = g.param("w.entries", f32({1, 4}));
  const Value wrt[] = {entries};
  const Value d = grad(ops::mean(ops::square(y)), wrt)[0];
  g.set_update(entries, entries - 0.001 * d);
  const auto before = net.state.get("w.entries").to_vector<float>();
  RunContext context = compile(g, {.batch = 16}).context(net.state);
  const Tensor x = random_tensor({16, Packed::kCols}, 3);
  context.bind("x", x);
  double last = 1e30;
  for (int i = 0; i < 5; ++i) {
    context.run();
    double loss = 0;
    for (const float v : context.output("y").span<float>()) loss += v * v;
    EXPECT_LT(loss, last);
    last = loss;
  }
  EXPECT_NE(net.state.get("w.entries").to_vector<float>(), before);
}

}  // namespace
}  // namespace tessera
