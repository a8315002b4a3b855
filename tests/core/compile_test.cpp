// From graph to plan: passes, kernel selection, memory, updates, frozen and live plans.
#include "core/compile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/autodiff.h"
#include "core/graph_text.h"
#include "core/interpret.h"
#include "core/passes/passes.h"
#include "core/plan_data.h"
#include "core/verify.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/core/tensors.h"

namespace tessera {
namespace {

using testing::expect_near;
using testing::random_tensor;

class Env {
 public:
  Env(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Env() { unsetenv(name_); }

 private:
  const char* name_;
};

// x W^T + b through tanh; loss = mean of squares; SGD with momentum on W and b.
struct Net {
  Graph graph{ops::standard_ops()};
  State state;
  static constexpr std::int64_t kIn = 19, kOut = 33;

  Net() {
    const Value x = graph.input("x", f32({kBatch, kIn}));
    const Value w = graph.param("w", f32({kOut, kIn}));
    const Value b = graph.param("b", f32({kOut}));
    const Value y = ops::tanh(ops::linear(x, w, b));
    const Value loss = ops::mean(ops::square(y));
    graph.set_output("y", y);
    graph.set_output("loss", loss);
    const Value wrt[] = {w, b};
    const auto g = grad(loss, wrt);
    for (int i = 0; i < 2; ++i) {
      const Value m = graph.state(wrt[i].node->name() + ".momentum", wrt[i].type());
      const auto next = ops::sgd_update(wrt[i], g[static_cast<std::size_t>(i)], m, 0.5, 0.9, true);
      graph.set_update(wrt[i], next.param);
      graph.set_update(m, next.momentum);
    }
    state.set("w", random_tensor({kOut, kIn}, 1));
    state.set("b", random_tensor({kOut}, 2));
    state.set("w.momentum", random_tensor({kOut, kIn}, 3));
    state.set("b.momentum", random_tensor({kOut}, 4));
  }

  // One step in the reference interpreter: the outputs and the new state.
  std::map<std::string, std::vector<double>> reference(const Tensor& x) const {
    const Graph bound = specialize(graph, x.shape()[0].value());
    RefMap leaves;
    const auto put = [&](const std::string& name, const Tensor& t) {
      RefTensor r{{t.dtype(), t.shape(), {}}, {}};
      for (std::int64_t i = 0; i < t.numel(); ++i) r.v.push_back(element(t, i));
      leaves.emplace(name, std::move(r));
    };
    put("x", x);
    for (const auto& [name, entry] : state.entries()) put(name, entry.tensor);
    std::vector<Value> wanted;
    std::vector<std::string> names;
    for (const auto& [name, value] : bound.outputs()) {
      names.push_back(name);
      wanted.push_back(value);
    }
    for (const auto& [leaf, value] : bound.updates()) {
      names.push_back(leaf.node->name());
      wanted.push_back(value);
    }
    const auto results = interpret(bound, leaves, wanted);
    std::map<std::string, std::vector<double>> out;
    for (std::size_t i = 0; i < names.size(); ++i) out[names[i]] = results[i].v;
    return out;
  }
};

void expect_step_matches(const char* what) {
  Net net;
  const Tensor x = random_tensor({8, Net::kIn}, 5);
  const auto wanted = net.reference(x);
  const Plan plan = compile(net.graph, {.batch = 8});
  RunContext context = plan.context(net.state);
  context.bind("x", x);
  context.run();
  for (const auto& [name, values] : wanted) {
    const bool output = name == "y" || name == "loss";
    expect_near(output ? context.output(name) : net.state.get(name), values, 1e-5,
                std::string(what) + " " + name);
  }
}

TEST(Compile, TrainingStepMatchesTheInterpreter) {
  expect_step_matches("all passes");
}

TEST(Compile, EveryPassCanBeSkipped) {
  for (const Pass& pass : graph_passes()) {
    Env skip("TESSERA_SKIP", std::string(pass.name).c_str());
    expect_step_matches(std::string(pass.name).c_str());
  }
  Env skip("TESSERA_SKIP", "simplify,fold,fuse");
  expect_step_matches("no passes");
}

TEST(Compile, PoisonedArenaChangesNothing) {
  Env poison("TESSERA_CHECK", "poison,verify");
  expect_step_matches("poison");
}

TEST(Compile, UpdateRidesOnTheGradientMatmul) {
  Net net;
  PassContext passes;
  const Graph graph = run_passes(specialize(net.graph, 8), passes, true);
  int matmuls = 0, with_epilogue = 0, elementwise = 0;
  for (const Node& node : graph.nodes()) {
    if (&node.op() == &kMatmul) {
      ++matmuls;
      with_epilogue += bool(node.attrs().program("epilogue"));
    }
    elementwise +=
        node.op().has(kElementwise) && node.types()[0].shape == Shape({Net::kOut, Net::kIn});
  }
  EXPECT_EQ(matmuls, 2);        // forward, d w
  EXPECT_EQ(with_epilogue, 2);  // bias and tanh; the update of w and its momentum
  EXPECT_EQ(elementwise, 0);
}

TEST(Compile, ReadersSeeTheStateBeforeTheStep) {
  // c' = c + 1 while an output reads c, and a second state swaps with it: a' = c, c' = a + 1.
  Graph g(ops::standard_ops());
  const Value a = g.state("a", f32({3})), c = g.state("c", f32({3}));
  g.set_output("seen", c);
  g.set_output("sum", a + c);
  g.set_update(a, c);
  g.set_update(c, a + 1.0);
  State state;
  state.set("a", Tensor::full({3}, 10));
  state.set("c", Tensor::full({3}, 20));
  RunContext context = compile(g).context(state);
  context.run();
  EXPECT_EQ(context.output("seen").span<float>()[0], 20);
  EXPECT_EQ(context.output("sum").span<float>()[2], 30);
  EXPECT_EQ(state.get("a").span<float>()[1], 20);
  EXPECT_EQ(state.get("c").span<float>()[1], 11);
  context.run();
  EXPECT_EQ(state.get("a").span<float>()[0], 11);
  EXPECT_EQ(state.get("c").span<float>()[0], 21);
}

TEST(Compile, StatesSwapAndRememberWhateverTheOrder) {
  for (const bool reversed : {false, true}) {
    Graph g(ops::standard_ops());
    const Value a = g.state("a", f32({2, 2})), b = g.state("b", f32({2, 2}));
    const Value w = g.state("w", f32({3})), prev = g.state("prev", f32({3})),
                flat = g.state("flat", f32({4}));
    std::vector<std::pair<Value, Value>> updates = {
        {a, b}, {b, a}, {prev, w}, {w, w * 2.0}, {flat, ops::reshape(a, {4})}};
    if (reversed) std::reverse(updates.begin(), updates.end());
    for (const auto& [state, value] : updates) g.set_update(state, value);
    State state;
    state.set("a", Tensor::full({2, 2}, 1));
    state.set("b", Tensor::full({2, 2}, 2));
    state.set("w", Tensor::full({3}, 5));
    state.set("prev", Tensor::full({3}, 0));
    state.set("flat", Tensor::full({4}, 0));
    compile(g).context(state).run();
    EXPECT_EQ(state.get("a").span<float>()[0], 2);
    EXPECT_EQ(state.get("b").span<float>()[3], 1);
    EXPECT_EQ(state.get("w").span<float>()[0], 10);
    EXPECT_EQ(state.get("prev").span<float>()[2], 5);
    EXPECT_EQ(state.get("flat").span<float>()[1], 1);
  }
}

TEST(Compile, AnUpdateThatNeverChangesIsMadeInEveryStep) {
  // s' depends on a frozen state only; y reads s, so its old value must be seen first.
  Graph g(ops::standard_ops());
  const Value frozen = g.state("frozen", f32({3})), s = g.state("s", f32({3}));
  g.set_output("y", s + 1.0);
  g.set_update(s, frozen * 2.0);
  State state;
  state.set("frozen", Tensor::full({3}, 4));
  state.set("s", Tensor::full({3}, 1));
  RunContext context = compile(g).context(state);
  context.run();
  EXPECT_EQ(context.output("y").span<float>()[0], 2);
  EXPECT_EQ(state.get("s").span<float>()[0], 8);
  context.run();
  EXPECT_EQ(context.output("y").span<float>()[0], 9);
  state.set("s", Tensor::full({3}, 100));
  state.set("frozen", Tensor::full({3}, 5));
  context.run();
  EXPECT_EQ(context.output("y").span<float>()[0], 101);
  EXPECT_EQ(state.get("s").span<float>()[0], 10);
}

TEST(Compile, AUsersElementwiseOpFuses) {
  static const OpDef triple{
      .name = "triple",
      .doc = "3 x",
      .inputs = {{.name = "x"}},
      .traits = kElementwise,
      .infer = [](const InferArgs& args) { return std::vector<TensorType>{args.in(0)}; },
      .scalar = [](const double* x) { return 3 * x[0]; },
      .rows = kAbs.rows};
  OpSet set = ops::standard_ops();
  set.add(triple);
  Graph g(set);
  g.set_output("y", ops::relu(g.add(triple, {g.input("x", f32({3})) + 1.0}).output()));
  State none;
  RunContext context = compile(g).context(none);
  context.bind("x", Tensor::full({3}, 1));
  context.run();
  EXPECT_EQ(context.output("y").span<float>()[1], 6);
}

TEST(Compile, ScalarsAreSetWithoutTouchingTheCallersTensor) {
  Graph g(ops::standard_ops());
  g.set_output("y", g.input("x", f32({2})) * g.input("lr", f32({})));
  State none;
  RunContext context = compile(g).context(none);
  const Tensor mine = Tensor::scalar(3);
  context.bind("x", Tensor::full({2}, 2));
  context.bind("lr", mine);
  context.set("lr", 5);
  context.run();
  EXPECT_EQ(context.output("y").span<float>()[0], 10);
  EXPECT_EQ(mine.item(), 3);
  EXPECT_THROW(context.set("x", 1), Error);
}

TEST(Compile, MatmulDoesNotOverwriteItsOwnOperand) {
  // w' = x w: the product reads all of w, so it cannot be written in place.
  Graph g(ops::standard_ops());
  const Value w = g.param("w", f32({5, 5}));
  const Value x = g.input("x", f32({5, 5}));
  g.set_update(w, ops::matmul(x, w));
  State state;
  const Tensor start = random_tensor({5, 5}, 1), left = random_tensor({5, 5}, 2);
  state.set("w", start.clone());
  RunContext context = compile(g).context(state);
  context.bind("x", left);
  context.run();
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 5; ++j) {
      double sum = 0;
      for (int k = 0; k < 5; ++k) sum += element(left, i * 5 + k) * element(start, k * 5 + j);
      EXPECT_NEAR(element(state.get("w"), i * 5 + j), sum, 1e-6);
    }
  }
}

TEST(Compile, StateMustFit) {
  Net net;
  const Plan plan = compile(net.graph, {.batch = 2});
  net.state.erase("b");
  try {
    plan.context(net.state);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the state has no 'b', which the plan needs as f32[33]");
  }
  net.state.set("b", Tensor(DType::f32, {34}));
  EXPECT_THROW(plan.context(net.state), Error);
}

TEST(Compile, InputsMustBeGivenAndFit) {
  Net net;
  RunContext context = compile(net.graph, {.batch = 2}).context(net.state);
  EXPECT_THROW(context.run(), Error);
  EXPECT_THROW(context.bind("x", Tensor(DType::f32, {3, Net::kIn})), Error);
  EXPECT_THROW(context.bind("z", Tensor(DType::f32, {2, Net::kIn})), Error);
}

TEST(Compile, FirstNanIsNamed) {
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({4}));
  g.set_output("y", ops::sum(ops::log(x)));
  const Plan plan = compile(g, {.check_nan = true});
  State state;
  RunContext context = plan.context(state);
  context.bind("x", Tensor::from(std::vector<float>{1, 2, -1, 3}, {4}));
  try {
    context.run();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("first NaN: output 0 of log"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("element 2"), std::string::npos) << error.what();
  }
}

TEST(Compile, RunningAllocatesNothing) {
  Net net;
  const Plan plan = compile(net.graph, {.batch = 8});
  RunContext context = plan.context(net.state);
  context.bind("x", random_tensor({8, Net::kIn}, 5));
  context.run();
  const auto before = allocation_count().allocations;
  for (int i = 0; i < 5; ++i) context.run();
  EXPECT_EQ(allocation_count().allocations, before);
}

// y = x W^T with W kept as 2-bit codebook storage.
TEST(MemoryPlan, LiveBuffersNeverOverlap) {
  Rng rng(5, 6);
  for (int round = 0; round < 50; ++round) {
    std::vector<Buffer> buffers(20);
    std::vector<Lifetime> lives;
    for (int b = 0; b < 20; ++b) {
      buffers[static_cast<std::size_t>(b)].bytes = static_cast<std::int64_t>(rng.below(5000));
      const int first = static_cast<int>(rng.below(30));
      lives.push_back({b, first, first + static_cast<int>(rng.below(8))});
    }
    const auto total = plan_arena(buffers, lives);
    for (const auto& x : lives) {
      const Buffer& bx = buffers[static_cast<std::size_t>(x.buffer)];
      EXPECT_LE(bx.offset + bx.bytes, total);
      EXPECT_EQ(bx.offset % kAlignment, 0);
      for (const auto& y : lives) {
        if (y.buffer <= x.buffer || y.first > x.last || x.first > y.last) continue;
        const Buffer& by = buffers[static_cast<std::size_t>(y.buffer)];
        EXPECT_TRUE(bx.offset + bx.bytes <= by.offset || by.offset + by.bytes <= bx.offset);
      }
    }
  }
}

}  // namespace
}  // namespace tessera
