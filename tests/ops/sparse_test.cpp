// Sparse corrections: their coding, and corrected weights through the compiler.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/files/model.h"
#include "core/interpret.h"
#include "core/rng.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "ops/sparse/positions.h"
#include "ops/sparse/sparse.h"
#include "tests/error_of.h"

namespace tessera {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Places = std::vector<std::int64_t>;

using testing::error_of;

TEST(Positions, TheDocumentedExample) {
  const Bytes stream = encode_positions(Places{3, 4, 700});
  EXPECT_EQ(stream, (Bytes{0x03, 0x00, 0xff, 0xb8, 0x03}));
  EXPECT_EQ(decode_positions(stream, 3, 701), (Places{3, 4, 700}));
}

TEST(Positions, EveryGapReadsBack) {
  Places at;
  std::int64_t place = -1;
  for (std::int64_t gap = 0; gap < 3000; ++gap) at.push_back(place += 1 + gap);
  for (const std::int64_t gap : {std::int64_t{1} << 20, std::int64_t{1} << 38})
    at.push_back(place += 1 + gap);
  const auto count = static_cast<std::int64_t>(at.size());
  EXPECT_EQ(decode_positions(encode_positions(at), count, place + 1), at);
}

TEST(Positions, OneInAHundredTakesElevenTenthsOfAByte) {
  Rng rng(1, 1);
  Places at;
  for (std::int64_t i = 0; i < 1'000'000; ++i) {
    if (rng.uniform() < 0.01) at.push_back(i);
  }
  const auto bytes = static_cast<double>(encode_positions(at).size());
  EXPECT_NEAR(bytes / static_cast<double>(at.size()), 1.1, 0.03);
}

TEST(Positions, RefusesWhatMeansNothing) {
  const auto decode = [](const Bytes& stream, std::int64_t count, std::int64_t numel) {
    return error_of([&] { decode_positions(stream, count, numel); });
  };
  EXPECT_EQ(decode({1, 2}, 2, 5), "no error");
  EXPECT_EQ(decode({1, 2}, 2, 4), "sparse position 4 is not below the number of elements, 4");
  EXPECT_EQ(decode({1, 2}, 3, 9), "sparse positions end within a value, after 2 bytes");
  EXPECT_EQ(decode({1, 255}, 2, 999), "sparse positions end within a value, after 2 bytes");
  EXPECT_EQ(decode({1, 2, 0}, 2, 9), "sparse positions: 1 bytes are left after the last value");
  EXPECT_NE(decode(Bytes(20, 255), 1, 9).find("is too long"), std::string::npos);
}

struct Planes {
  Graph graph{ops::standard_ops()};
  State state;
  Rng rng{5, 1};

  Value weight(const std::string& name, const Shape& shape, int bits, std::int64_t every) {
    const CodebookFormat format{.bits = bits};
    Tensor indices(DType::u8, format.indices_shape(shape));
    for (auto& byte : indices.span<std::uint8_t>())
      byte = static_cast<std::uint8_t>(rng.below(256));
    const std::int64_t count = format.index_count(shape) * bits;
    if (count % 8 != 0)
      indices.span<std::uint8_t>().back() &= static_cast<std::uint8_t>((1 << count % 8) - 1);
    Tensor entries(DType::f32, format.entries_shape(shape, format.max_entries()));
    for (float& v : entries.span<float>()) v = rng.normal();
    Places at;
    for (std::int64_t i = every / 2; i < shape.numel(); i += 1 + rng.below(2 * every))
      at.push_back(i);
    const Bytes stream = encode_positions(at);
    Tensor values(DType::f32, {static_cast<std::int64_t>(at.size())});
    for (float& v : values.span<float>()) v = 3 * rng.normal();
    const auto plane = [&](const std::string& suffix, const Tensor& tensor) {
      state.set(name + suffix, tensor);
      return graph.param(name + suffix, {tensor.dtype(), tensor.shape(), {}});
    };
    const Value base =
        ops::codebook(plane(".indices", indices), plane(".entries", entries), {}, format, shape);
    const Value sparse =
        ops::sparse(plane(".sparse.positions",
                          Tensor::from(stream, Shape{static_cast<std::int64_t>(stream.size())})),
                    plane(".sparse.values", values), shape);
    return base + sparse;
  }

  RefMap leaves(const std::map<std::string, Tensor>& inputs) const {
    RefMap out;
    const auto take = [&](const std::string& name, const Tensor& tensor) {
      RefTensor& value = out[name] = {{tensor.dtype(), tensor.shape(), {}}, {}};
      for (std::int64_t i = 0; i < tensor.numel(); ++i) value.v.push_back(element(tensor, i));
    };
    for (const auto& [name, tensor] : inputs) take(name, tensor);
    for (const auto& [name, entry] : state.entries()) take(name, entry.tensor);
    return out;
  }

  Tensor random(const Shape& shape) {
    Tensor out(DType::f32, shape);
    for (float& v : out.span<float>()) v = rng.uniform(-1, 1);
    return out;
  }
};

void expect_near(const Tensor& got, const RefTensor& want, double tolerance) {
  ASSERT_EQ(got.numel(), want.numel());
  for (std::int64_t i = 0; i < got.numel(); ++i)
    ASSERT_NEAR(element(got, i), want.v[static_cast<std::size_t>(i)], tolerance) << i;
}

TEST(Corrected, LinearAndConvolutionRunPacked) {
  Planes p;
  const Value x = p.graph.input("x", {DType::f32, {kBatch, 3, 8, 8}, {}});
  const Value conv =
      ops::relu(ops::conv2d(x, p.weight("conv", {10, 3, 3, 3}, 2, 9), {.padding = {1, 1, 1, 1}}));
  const Value flat = ops::reshape(conv, {kBatch, 640});
  const Value bias = p.graph.param("bias", f32({30}));
  p.state.set("bias", p.random({30}));
  p.graph.set_output("y", ops::tanh(ops::linear(flat, p.weight("fc", {30, 640}, 1, 50), bias)));
  for (const std::int64_t batch : {1, 3, 4, 37}) {
    SCOPED_TRACE(batch);
    const std::map<std::string, Tensor> inputs = {{"x", p.random({batch, 3, 8, 8})}};
    const Plan plan = compile(p.graph, p.state, {.batch = batch, .packed_only = true});
    EXPECT_TRUE(plan.decoded().empty());
    const auto count = [&](std::string_view op) {
      return std::count_if(plan.steps().begin(), plan.steps().end(),
                           [&](const StepInfo& step) { return step.op == op; });
    };
    EXPECT_EQ(count("sparse_matmul"), 1);
    EXPECT_EQ(count("sparse_conv2d"), 1);
    EXPECT_EQ(count("sparse"), 0);
    const Graph bound = specialize(p.graph, batch);
    const auto want = interpret(bound, p.leaves(inputs), {bound.output("y")});
    expect_near(plan.run(inputs).at("y"), want[0], 2e-5);
  }
}

TEST(Corrected, WhatHasNoRuleIsListedAndRefused) {
  Planes p;
  p.graph.set_output("y", ops::square(p.weight("w", {5, 6}, 2, 4)));
  const Plan plan = compile(p.graph, p.state, {});
  ASSERT_EQ(plan.decoded().size(), 2u);
  const std::string lines = plan.decoded()[0] + "\n" + plan.decoded()[1];
  EXPECT_NE(lines.find("decoded whole, 120 bytes"), std::string::npos) << lines;
  EXPECT_NE(lines.find("sparse 'w.sparse.positions': f32[5,6] written out dense, 120 bytes"),
            std::string::npos)
      << lines;
  EXPECT_NE(
      error_of([&] { compile(p.graph, p.state, {.packed_only = true}); }).find("--packed-only"),
      std::string::npos);
}

TEST(Corrected, EntriesAndValuesTrain) {
  Planes p;
  const Value x = p.graph.input("x", f32({6, 40})), image = ops::reshape(x, {6, 1, 5, 8});
  const Value fc = ops::matmul(ops::tanh(x), p.weight("fc", {7, 40}, 2, 10), false, true);
  const Value conv = ops::conv2d(image, p.weight("conv", {4, 1, 3, 3}, 1, 5));
  const Value loss = ops::sum(ops::square(fc)) + ops::sum(ops::square(conv));
  std::vector<Value> wrt = {x};
  for (const char* name : {"fc.entries", "fc.sparse.values", "conv.entries", "conv.sparse.values"})
    wrt.push_back(p.graph.find_leaf(name)->output());
  const std::vector<Value> gradients = grad(loss, wrt);
  for (std::size_t i = 0; i < wrt.size(); ++i)
    p.graph.set_output("d" + wrt[i].node->name(), gradients[i]);
  const std::map<std::string, Tensor> inputs = {{"x", p.random({6, 40})}};
  const auto want = interpret(p.graph, p.leaves(inputs), gradients);
  const auto got = compile(p.graph, p.state, {}).run(inputs);
  for (std::size_t i = 0; i < wrt.size(); ++i) {
    SCOPED_TRACE(wrt[i].node->name());
    expect_near(got.at("d" + wrt[i].node->name()), want[i], 2e-3);
  }
}

TEST(Corrected, MalformedPositionsAreRefusedWhenRead) {
  Planes p;
  const Value x = p.graph.input("x", f32({1, 6}));
  p.graph.set_output("y", ops::matmul(x, p.weight("w", {5, 6}, 2, 4), false, true));
  std::map<std::string, Tensor> tensors = p.state.tensors();
  check_weights(p.graph, tensors, "m.safetensors");
  Tensor& positions = tensors["w.sparse.positions"] = tensors["w.sparse.positions"].clone();
  positions.span<std::uint8_t>()[0] = 29;
  const std::string message = error_of([&] { check_weights(p.graph, tensors, "m.safetensors"); });
  EXPECT_NE(message.find("m.safetensors: tensor 'w.sparse.positions': sparse position"),
            std::string::npos)
      << message;
  // Kernels do not trust them either.
  p.state.set("w.sparse.positions", positions);
  EXPECT_NE(error_of([&] {
              compile(p.graph, p.state, {}).run({{"x", p.random({1, 6})}});
            }).find("sparse position"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera
