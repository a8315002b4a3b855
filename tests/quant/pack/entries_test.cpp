// Codebooks with entries of bf16 and s8: what is stored, and that it runs as it decodes.
#include "quant/pack/entries.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "core/memory_rule.h"
#include "nn/conv.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/load.h"
#include "ops/op_list.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/pack/decoded.h"
#include "quant/pack/packed_check.h"
#include "tests/fill_xy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using tessera::testing::fill_xy;
using test::error_of;
using test::reference;

std::vector<float> noise(std::int64_t n) {
  Rng rng(7, 0);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& v : out) v = rng.normal();
  return out;
}

std::vector<float> decode(const CodebookTensor& c) {
  std::vector<float> out(static_cast<std::size_t>(c.shape.numel()));
  c.decode(out);
  return out;
}

TEST(Entries, RoundedOnesAreWhatTheStoredFormMeans) {
  const Shape shape{8, 24};
  const auto w = noise(shape.numel());
  const std::vector<std::pair<const char*, std::int64_t>> formats = {
      {"adaptive:16", 0}, {"adaptive:4", 3}, {"uniform:4", 0},  {"uniform:4@8", 0},
      {"nf4@row", 0},     {"vector:8x2", 0}, {"multibit:2", 0}, {"binary-scaled", 0}};
  for (const auto& [text, rows] : formats) {
    const CodebookTensor f32 = fit_tensor("w", CodebookSpec::parse(text), shape, rows, w);
    for (const DType dtype : {DType::bf16, DType::s8}) {
      SCOPED_TRACE(cat(text, " ", name(dtype)));
      const CodebookTensor stored = with_entries(f32, dtype);
      // The format's own kernel agrees with decode().
      State state;
      stored.store(state, "w");
      EXPECT_EQ(state.get("w.entries").dtype(), dtype);
      EXPECT_EQ(state.get("w.entries").numel(), std::ssize(stored.entries));
      Graph graph(ops::standard_ops());
      const auto leaf = [&](const std::string& name) {
        const Tensor& tensor = state.get(name);
        return graph.param(name, {tensor.dtype(), tensor.shape(), {}});
      };
      const Value scale = stored.scales.empty() ? Value() : leaf("w.scale");
      graph.set_output("w", ops::decode(ops::codebook(leaf("w.indices"), leaf("w.entries"), scale,
                                                      stored.format, shape)));
      const auto expected = decode(stored), exact = decode(f32);
      const auto got = compile(graph, state, {}).run({}).at("w").to_vector<float>();
      for (std::size_t i = 0; i < w.size(); ++i) {
        EXPECT_EQ(got[i], expected[i]) << i;
        // bf16 has 8 bits, s8 steps of a 127th of the largest.
        EXPECT_NEAR(expected[i], exact[i], 4.0 / 127) << i;
      }
    }
  }
}

TEST(Entries, IntegersAreExactWhereTheEntriesAreMultiples) {
  const Shape shape{4, 32};
  const auto w = noise(shape.numel());
  for (const char* text : {"uniform:3", "uniform:4@8", "binary-scaled", "ternary-scaled"}) {
    const CodebookTensor f32 = fit_tensor("w", CodebookSpec::parse(text), shape, 0, w);
    const auto expected = decode(f32), got = decode(with_entries(f32, DType::s8));
    for (std::size_t i = 0; i < w.size(); ++i)
      EXPECT_NEAR(got[i], expected[i], 1e-6 * (1 + std::abs(expected[i]))) << text << " " << i;
  }
  // Fewest steps of error, not the largest integers: -2..1 needs no scaling.
  const CodebookTensor two =
      with_entries(fit_tensor("w", CodebookSpec::fixed({-2, -1, 0, 1}), shape, 0, w), DType::s8);
  EXPECT_EQ(two.entries, (std::vector<float>{-2, -1, 0, 1}));
}

TEST(Entries, CorrectedWeightsKeepTheirValues) {
  const Shape shape{4, 32};
  const auto w = noise(shape.numel());
  const CodebookTensor f32 =
      fit_tensor("w", CodebookSpec::adaptive(4), shape, 0, w, {}, nullptr, 0.1);
  for (const DType dtype : {DType::bf16, DType::s8}) {
    const auto got = decode(with_entries(f32, dtype));
    for (const std::int64_t i : f32.sparse.positions) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_NEAR(got[at], w[at], 1e-5) << i;
    }
  }
}

TEST(Entries, NamesOfDtypes) {
  EXPECT_EQ(entry_types().parse("bf16"), DType::bf16);
  EXPECT_EQ(error_of([] { entry_types().parse("s32"); }),
            "type of codebook entries 's32' is unknown; there are f32, bf16 and s8");
  EXPECT_EQ(error_of([] { with_entries(CodebookTensor{}, DType::u8); }),
            "codebook entries are stored as f32, bf16 or s8, not u8");
}

// Hardened, saved, loaded, run packed at small and large batches, counted.
TEST(Entries, AModelWithSmallEntriesRunsAndIsCounted) {
  nn::Trainer t = reference();
  const test::Scores data;
  const auto plan =
      plan_compression(t.parameters(), t.state(), {.weights = {CodebookSpec::adaptive(4)}});
  const PostTraining dc = direct_compression();
  const auto codebooks = compress(t, data, plan, dc).codebooks;
  const auto path = std::filesystem::path(::testing::TempDir()) / "tessera_entries.json";
  std::map<DType, std::int64_t> bytes;
  for (const DType dtype : {DType::f32, DType::bf16, DType::s8}) {
    SCOPED_TRACE(name(dtype));
    const Model hardened = harden(t, with_entries(codebooks, dtype));
    const SizeReport report = size_report(hardened);
    for (const auto& item : report.tensors) {
      if (!item.coded()) continue;
      EXPECT_EQ(item.codebook_bytes, 4 * size_of(dtype)) << item.name;
      EXPECT_EQ(item.scale_bytes, dtype == DType::s8 ? 4 * item.shape[0].value() : 0) << item.name;
    }
    bytes[dtype] = report.bytes();
    save(hardened, path);
    const Model model = load(path);
    for (const std::int64_t batch : {1, 33}) {
      const PackedCheck check = verify(model, {.batch = batch});
      EXPECT_LT(check.worst(), 1e-4);
      EXPECT_EQ(check.layers.size(), 2u);
    }
    // On inputs of one's own: the packed run gives what the decoded network gives.
    Tensor x(DType::f32, {5, 20}), y(DType::s32, {5});
    fill_xy(data, -1, 10, x, y);
    const PackedCheck own = verify(model, {.batch = 5, .inputs = {{"x", x}}});
    const auto logits = compile(decoded(model), {.batch = 5}).run({{"x", x}}).at("logits");
    float most = 0;
    for (const float v : logits.span<float>()) most = std::max(most, std::abs(v));
    ASSERT_EQ(own.outputs.size(), 1u);
    EXPECT_NEAR(own.outputs[0].max_reference, most, 1e-4);
  }
  EXPECT_LT(bytes[DType::bf16], bytes[DType::f32]);
}

// A model of a file may take what its weights explain; one that was built here, anything.
TEST(PackedCheck, WhatTheReferenceMayTake) {
  Model model = nn::inference_model(reference());
  EXPECT_EQ(reference_limits(model).operations, InterpretLimits{}.operations);
  EXPECT_EQ(reference_limits(model).elements, InterpretLimits{}.elements);
  model.graph.set_source("m.json");
  double weights = 0;
  for (const Node* node : model.graph.states())
    weights += static_cast<double>(node->types()[0].shape.numel());
  EXPECT_EQ(reference_limits(model).operations, 1e9 + 1000 * weights);
  EXPECT_EQ(reference_limits(model, {.batch = 3}).operations, 3 * (1e9 + 1000 * weights));
  EXPECT_EQ(reference_limits(model, {.max_operations = 1e12}).operations, 1e12);
  EXPECT_EQ(reference_limits(model, {.max_operations = 1}).operations, 1e9 + 1000 * weights);
  EXPECT_EQ(reference_limits(model).elements,
            static_cast<double>(memory_limit(static_cast<std::int64_t>(4 * weights))) / 8);
}

// A product that a known error was added to, and what a run in integers loses of signal.
TEST(LayerNoise, IsTheShareOfTheErrorInTheSignal) {
  EXPECT_NEAR((LayerSnr{"fc", 100, 1}).db(), 20, 1e-12);
  EXPECT_EQ((LayerSnr{"fc", 100, 0}).db(), std::numeric_limits<double>::infinity());

  nn::Trainer t = reference();
  const test::Scores data;
  const auto plan =
      plan_compression(t.parameters(), t.state(), {.weights = {CodebookSpec::adaptive(4)}});
  Model model = harden(t, compressed(t, plan, direct_compression()));
  // What is made of a weight alone is no layer.
  const auto& nodes = model.graph.nodes();
  const auto weight = std::find_if(nodes.begin(), nodes.end(),
                                   [](const Node& node) { return node.op().name == "codebook"; });
  ASSERT_NE(weight, nodes.end());
  model.graph.set_output("length", ops::sum(ops::square(weight->output())));
  Tensor x(DType::f32, {8, 20}), y(DType::s32, {8});
  fill_xy(data, -1, 0, x, y);
  LayerNoise exact(model, {.batch = 8}), rounded(model, {.batch = 8, .int8 = true});
  exact.add({{"x", x}, {"y", y}});
  for (int i = 0; i < 2; ++i) rounded.add({{"x", x}, {"y", y}});
  ASSERT_EQ(rounded.layers().size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(exact.layers()[i].error, 0);
    EXPECT_NEAR(rounded.layers()[i].signal, 2 * exact.layers()[i].signal,
                1e-9 * rounded.layers()[i].signal);
    // A byte has some 50 dB to give; activations and entries lose it twice in two layers.
    EXPECT_GT(rounded.layers()[i].db(), 30) << rounded.layers()[i].name;
    EXPECT_LT(rounded.layers()[i].db(), 70) << rounded.layers()[i].name;
  }
}

TEST(PackedCheck, RefusesInputsThatAreNotTheModels) {
  const Model model = nn::inference_model(reference());
  EXPECT_EQ(error_of([&] {
              verify(model, {.inputs = {{"image", Tensor(DType::f32, {1, 20})}}});
            }),
            "the model has no input 'image'");
  EXPECT_EQ(error_of([&] {
              verify(model, {.batch = 2, .inputs = {{"x", Tensor(DType::f32, {1, 20})}}});
            }),
            "input 'x' is f32[1,20], the model needs f32[2,20]");
}

}  // namespace
}  // namespace tessera::quant
