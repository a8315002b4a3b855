// The LSTM scan in plans: what a step does, sequences in pieces, training through it, and what
// packed plans hold. Kernels are compared with the reference by all_ops_test.cpp.
#include "ops/recurrent/lstm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/fields.h"
#include "core/interpret.h"
#include "core/parallel.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/op_list.h"
#include "tests/core/tensors.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using testing::error_of;
using testing::expect_near;
using testing::random_tensor;

// One unit, by hand: gates in the order i, f, g, o.
TEST(Lstm, OneStepOfOneUnit) {
  Graph graph(ops::standard_ops());
  const auto [h, last_h, last_c] =
      ops::lstm_scan(graph.input("x", f32({1, 1, 4})), graph.input("r", f32({4, 1})),
                     graph.input("h", f32({1, 1})), graph.input("c", f32({1, 1})));
  graph.set_output("y", h);
  graph.set_output("h1", last_h);
  graph.set_output("c1", last_c);
  const auto out =
      compile(graph, State(), {})
          .run({{"x", Tensor::from(std::vector<float>{0.1f, 0.2f, 0.3f, 0.4f}, {1, 1, 4})},
                {"r", Tensor::from(std::vector<float>{1, -1, 2, -2}, {4, 1})},
                {"h", Tensor::from(std::vector<float>{0.5f}, {1, 1})},
                {"c", Tensor::from(std::vector<float>{-0.25f}, {1, 1})}});
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const double c = sigmoid(0.2 - 0.5) * -0.25 + sigmoid(0.1 + 0.5) * std::tanh(0.3 + 1);
  EXPECT_NEAR(element(out.at("c1"), 0), c, 1e-6);
  EXPECT_NEAR(element(out.at("h1"), 0), sigmoid(0.4 - 1) * std::tanh(c), 1e-6);
  EXPECT_EQ(element(out.at("y"), 0), element(out.at("h1"), 0));
}

// A normalized product does not change with the size of R, whatever its sign may do.
TEST(Lstm, NormalizationTakesTheScaleOfR) {
  constexpr std::int64_t kH = 24;
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({3, 2, 4 * kH})), r = graph.input("r", f32({4 * kH, kH}));
  const Value h = graph.input("h", f32({2, kH})), c = graph.input("c", f32({2, kH}));
  const Value gain = graph.input("gain", f32({4 * kH}));
  const auto scan = [&](Value weight, bool norm) {
    return ops::lstm_scan(x, weight, h, c, {.gain = gain, .norm = norm, .epsilon = 0}).h;
  };
  graph.set_output("once", scan(r, true));
  graph.set_output("thrice", scan(r * 3.0, true));
  graph.set_output("plain", scan(r, false));
  // Without normalization a gain is that of the rows of R.
  graph.set_output("rows", ops::lstm_scan(x, r * ops::reshape(gain, {4 * kH, 1}), h, c).h);
  const auto out = compile(graph, State(), {})
                       .run({{"x", random_tensor({3, 2, 4 * kH}, 1)},
                             {"r", random_tensor({4 * kH, kH}, 2)},
                             {"h", random_tensor({2, kH}, 3)},
                             {"c", random_tensor({2, kH}, 4)},
                             {"gain", random_tensor({4 * kH}, 5)}});
  double away = 0;
  for (std::int64_t i = 0; i < out.at("once").numel(); ++i) {
    EXPECT_NEAR(element(out.at("once"), i), element(out.at("thrice"), i), 1e-5);
    EXPECT_NEAR(element(out.at("plain"), i), element(out.at("rows"), i), 1e-5);
    away = std::max(away, std::fabs(element(out.at("once"), i) - element(out.at("plain"), i)));
  }
  EXPECT_GT(away, 0.1);
}

struct Weights {
  static constexpr std::int64_t kH = 40;
  Graph graph{ops::standard_ops()};
  State state;

  // R of `bits` bits, as parameters.
  Value r(const CodebookFormat& format) {
    const Shape shape{4 * kH, kH};
    const Shape entries = format.entries_shape(shape, format.max_entries());
    const Value indices = graph.param("r.indices", {DType::u8, format.indices_shape(shape), {}});
    Tensor drawn(DType::u8, format.indices_shape(shape));
    Rng rng(1, 1);
    for (auto& v : drawn.span<std::uint8_t>()) v = static_cast<std::uint8_t>(rng.next_u32());
    state.set("r.indices", drawn);
    state.set("r.entries", random_tensor(entries, 2));
    return ops::codebook(indices, graph.param("r.entries", {DType::f32, entries, {}}), {}, format,
                         shape);
  }
  ops::LstmScanResult scan(std::int64_t steps, Value r) {
    return ops::lstm_scan(graph.input("x", f32({steps, kBatch, 4 * kH})), r,
                          graph.input("h", f32({kBatch, kH})), graph.input("c", f32({kBatch, kH})));
  }
};

// A sequence in two pieces, the second from where the first ended, and on other threads, has the
// bits of the whole one. The packed plan holds no other copy of R.
TEST(Lstm, PiecesAndThreadsGiveTheSameBits) {
  constexpr std::int64_t kH = Weights::kH;
  for (const int bits : {2, 5, 8}) {
    SCOPED_TRACE(bits);
    const auto plan_of = [&](std::int64_t steps, std::int64_t batch, int threads) {
      Weights w;
      const auto out = w.scan(steps, w.r({.bits = bits}));
      w.graph.set_output("y", out.h);
      w.graph.set_output("h1", out.last_h);
      w.graph.set_output("c1", out.last_c);
      const Plan plan =
          compile(w.graph, w.state, {.batch = batch, .threads = threads, .packed_only = true});
      const std::int64_t dense = 16 * kH * kH;
      EXPECT_TRUE(plan.decoded().empty());
      EXPECT_LT(plan.memory().persistent + plan.memory().states, dense * bits / 24);
      return plan;
    };
    const Tensor x = random_tensor({6, 3, 4 * kH}, 3), zero(DType::f32, {3, kH});
    const Plan six = plan_of(6, 3, 1), three = plan_of(3, 3, 2);
    const auto whole = six.run({{"x", x}, {"h", zero}, {"c", zero}});
    const auto first = three.run({{"x", x.slice(0, 3)}, {"h", zero}, {"c", zero}});
    const auto second =
        three.run({{"x", x.slice(3, 6)}, {"h", first.at("h1")}, {"c", first.at("c1")}});
    EXPECT_TRUE(equal_bits(whole.at("y").slice(0, 3), first.at("y")));
    EXPECT_TRUE(equal_bits(whole.at("y").slice(3, 6), second.at("y")));
    EXPECT_TRUE(equal_bits(whole.at("h1"), second.at("h1")));
    EXPECT_TRUE(equal_bits(whole.at("c1"), second.at("c1")));
  }
}

// Rounded to bytes are the states before each product, and the entries.
TEST(Lstm, ProductsInIntegers) {
  constexpr std::int64_t kH = Weights::kH;
  for (const int bits : {1, 4, 8}) {
    SCOPED_TRACE(bits);
    const auto outputs = [&](bool int8, std::string& kernel) {
      Weights w;
      const Value gain = w.graph.input("gain", f32({4 * kH}));
      const Value r = w.r({.bits = bits}), x = w.graph.input("x", f32({3, kBatch, 4 * kH}));
      const Value h = w.graph.input("h", f32({kBatch, kH})),
                  c = w.graph.input("c", f32({kBatch, kH}));
      w.graph.set_output("y", ops::lstm_scan(x, r, h, c).h);
      w.graph.set_output("normalized", ops::lstm_scan(x, r, h, c, {.gain = gain, .norm = true}).h);
      const Plan plan = compile(w.graph, w.state, {.batch = 3, .packed_only = true, .int8 = int8});
      for (const StepInfo& step : plan.steps())
        if (step.op == "lstm_scan") kernel = step.kernel;
      return plan.run({{"x", random_tensor({3, 3, 4 * kH}, 3)},
                       {"gain", random_tensor({4 * kH}, 4)},
                       {"h", random_tensor({3, kH}, 5)},
                       {"c", random_tensor({3, kH}, 6)}});
    };
    std::string exact, rounded;
    const auto want = outputs(false, exact), got = outputs(true, rounded);
    EXPECT_EQ(exact.find("_s8_"), std::string::npos) << exact;
    EXPECT_TRUE(rounded.starts_with("lstm_scan_s8_cb_")) << rounded;
    for (const char* name : {"y", "normalized"}) {
      EXPECT_FALSE(equal_bits(want.at(name), got.at(name))) << name;
      for (std::int64_t i = 0; i < want.at(name).numel(); ++i)
        EXPECT_NEAR(element(got.at(name), i), element(want.at(name), i), 0.02) << name;
    }
  }
}

// Weight normalization divides by the lengths of a codebook's rows without decoding it, whatever
// its groups and scales.
TEST(Lstm, LengthsOfTheRowsOfACodebook) {
  constexpr std::int64_t kH = Weights::kH;
  const CodebookFormat formats[] = {{.bits = 1}, {.bits = 3, .group_rows = 16}, {.bits = 8}};
  for (const CodebookFormat& format : formats) {
    Weights w;
    const Value r = w.r(format);
    w.graph.set_output("squares", ops::sum(ops::square(r), {1}));
    const Plan plan = compile(w.graph, w.state, {.packed_only = true});
    const Tensor squares = plan.run({}).at("squares");
    Weights whole;
    whole.graph.set_output("r", ops::decode(whole.r(format)));
    const Tensor values = compile(whole.graph, whole.state, {}).run({}).at("r");
    std::vector<double> want(4 * kH);
    for (std::int64_t i = 0; i < values.numel(); ++i)
      want[static_cast<std::size_t>(i / kH)] += element(values, i) * element(values, i);
    expect_near(squares, want, 1e-4, cat(format.bits, " bits"));
  }
}

// Training through codebook storage: the entries' gradient of a plan against differences of the
// reference.
TEST(Lstm, EntriesOfTheRecurrentWeightTrain) {
  Weights w;
  const auto out = w.scan(4, w.r({.bits = 2}));
  const Value loss = ops::sum(ops::square(out.h)) + ops::sum(out.last_c);
  const Value entries = w.graph.param("r.entries", f32({1, 4}));
  w.graph.set_output("loss", loss);
  w.graph.set_output("d", grad(loss, std::vector{entries})[0]);
  const TensorMap inputs = {{"x", random_tensor({4, 3, 4 * Weights::kH}, 3)},
                            {"h", random_tensor({3, Weights::kH}, 4)},
                            {"c", random_tensor({3, Weights::kH}, 5)}};
  const Plan plan = compile(w.graph, {.batch = 3});
  EXPECT_TRUE(plan.decoded().empty());
  RunContext context = plan.context(w.state);
  for (const auto& [name, tensor] : inputs) context.bind(name, tensor);
  context.run();
  const Tensor d = context.output("d").clone();
  for (std::int64_t i = 0; i < 4; ++i) {
    const auto loss_at = [&](float step) {
      Weights moved;
      const auto result = moved.scan(4, moved.r({.bits = 2}));
      moved.graph.set_output("loss", ops::sum(ops::square(result.h)) + ops::sum(result.last_c));
      RefMap leaves;
      Tensor entries = moved.state.get("r.entries").clone();
      entries.span<float>()[static_cast<std::size_t>(i)] += step;
      moved.state.set("r.entries", entries);
      const auto put = [&](const std::string& name, const Tensor& tensor) {
        RefTensor value{{tensor.dtype(), tensor.shape(), {}}, {}};
        for (std::int64_t e = 0; e < tensor.numel(); ++e) value.v.push_back(element(tensor, e));
        leaves[name] = value;
      };
      for (const auto& [name, tensor] : inputs) put(name, tensor);
      for (const char* name : {"r.indices", "r.entries"}) put(name, moved.state.get(name));
      const Graph bound = specialize(moved.graph, 3);
      return interpret(bound, leaves, {bound.output("loss")})[0].v[0];
    };
    constexpr float kStep = 1.0f / 1024;
    const double numeric = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    EXPECT_NEAR(element(d, i), numeric, 1e-3 * (1 + std::fabs(numeric))) << i;
  }
}

TEST(Lstm, SaysWhatDoesNotFit) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({3, kBatch, 8})), r = graph.input("r", f32({8, 2}));
  const Value s = graph.input("s", f32({kBatch, 2})), wide = graph.input("w", f32({kBatch, 3}));
  EXPECT_EQ(error_of([&] {
              ops::lstm_scan(x, graph.input("t", f32({8, 3})), s, s);
            }),
            "[lstm_scan] x f32[3,batch,8] needs r f32[4h,h], got f32[8,3]");
  EXPECT_EQ(error_of([&] { ops::lstm_scan(x, r, s, wide); }),
            "[lstm_scan] c0 must be f32[batch,2], got f32[batch,3]");
  EXPECT_EQ(error_of([&] { ops::lstm_scan(x, r, s, s, {.norm = true}); }),
            "[lstm_scan] normalization needs a gain");
  const Node& node = *ops::lstm_scan(x, r, s, s).h.node;
  EXPECT_EQ(error_of([&] { grad(ops::sum(node.output(4)), std::vector{x}); }),
            "[lstm_scan] result 4 is for the gradient of the others");
}

}  // namespace
}  // namespace tessera
