// What is exported and imported again gives the same outputs: networks of every kind, dense and
// packed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "onnx/export.h"
#include "onnx/export/exporter.h"
#include "onnx/import.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/pack/decoded.h"
#include "quant/pack/harden.h"
#include "tests/datasets/temp_dir.h"
#include "tests/onnx/networks.h"

namespace tessera::onnx {
namespace {

class OnnxZoo : public ::testing::TestWithParam<std::string> {};

TEST_P(OnnxZoo, ComesBackAsItWas) {
  expect_same(GetParam(), zoo_model(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(All, OnnxZoo, ::testing::ValuesIn(zoo_names(Weight::light)),
                         [](const auto& info) { return info.param; });

TEST(OnnxRoundTrip, RecurrentNetworkKeepsWhatItCarries) {
  const Model model = language_model();
  expect_same("lstm", model);
  const Model again = back(export_model(model), "lstm");
  EXPECT_EQ(carried_inputs(again.graph).size(), carried_inputs(model.graph).size());
  EXPECT_EQ(again.state.get("embedding.weight").shape(), Shape({50, 12}));
}

TEST(OnnxRoundTrip, Detector) {
  expect_same("detector", detector_model());
}

TEST(OnnxRoundTrip, Attention) {
  expect_same("attention", attention_model());
}

TEST(OnnxRoundTrip, PackedWeights) {
  const Model lstm = language_model();
  for (const char* codebook : {"uniform:2", "uniform:4", "uniform:8", "uniform:4@32",
                               "uniform:2@row", "fixed:-3,-1,1,3"}) {
    const Model small = packed(lstm, codebook);
    expect_same(codebook, small);
    expect_same(codebook, small, {.dense = true});
  }
  const Model lenet = packed(zoo_model("lenet5"), "uniform:4@32");
  expect_same("lenet5", lenet);
  expect_same("lenet5", lenet, {.dense = true});
}

TEST(OnnxRoundTrip, StepsOfCodebooksAreBits) {
  const Model lenet = zoo_model("lenet300");
  const auto written = [&](const char* codebook) {
    const Exported out = export_model(packed(lenet, codebook));
    return out.weights.at(0).how;
  };
  EXPECT_TRUE(written("uniform:2").starts_with("uint2")) << written("uniform:2");
  EXPECT_TRUE(written("uniform:4").starts_with("uint4")) << written("uniform:4");
  EXPECT_TRUE(written("uniform:8").starts_with("uint8")) << written("uniform:8");
  EXPECT_TRUE(written("fixed:-3,-1,1,3").starts_with("uint4")) << written("fixed:-3,-1,1,3");
  EXPECT_TRUE(written("adaptive:16").starts_with("looked up")) << written("adaptive:16");
  // 4 bits a weight: 266,200 weights in 133,100 bytes, and little more.
  const auto bytes = std::ssize(export_model(packed(lenet, "uniform:4")).bytes);
  EXPECT_LT(bytes, 133100 + 410 * 4 + 3000);
}

// What is small in the file is small after it has been read, too.
TEST(OnnxRoundTrip, PackedWeightsComeBackAsCodebooks) {
  struct Case {
    std::string name;
    Model model;
    std::vector<std::string> codebooks;
  };
  const std::vector<std::string> all = {"uniform:2",    "uniform:4",     "uniform:8",
                                        "uniform:4@32", "uniform:2@row", "fixed:-3,-1,1,3"};
  const Case cases[] = {
      {"lenet300", zoo_model("lenet300"), all},
      {"lstm", language_model(), all},
      // Blocks of filters are written as blocks of a matrix that is reshaped.
      {"lenet5", zoo_model("lenet5"), {"uniform:2", "uniform:8", "uniform:2@row"}}};
  for (const auto& [name, model, codebooks] : cases) {
    for (const std::string& codebook : codebooks) {
      SCOPED_TRACE(name + " " + codebook);
      const Model small = packed(model, codebook);
      const Exported exported = export_model(small);
      const Model again = back(exported, name);
      const quant::SizeReport was = quant::size_report(small), is = quant::size_report(again);
      EXPECT_EQ(is.weights(), was.weights());
      EXPECT_LT(is.bits_per_weight(), was.bits_per_weight() * 1.01);
      datasets::TempDir folder;
      write_file(folder.path() / "m.onnx", exported.bytes);
      const Model dense = import_model(folder.path() / "m.onnx", {.dense = true}).model;
      EXPECT_EQ(quant::size_report(dense).weights(), 0);
    }
  }
}

// ||w - v|| / ||w|| over all weights that are codebooks in `model`.
double distance(const Model& model, const Model& written) {
  const Model a = quant::decoded(model), b = quant::decoded(written);
  double off = 0, all = 0;
  for (const quant::TensorReport& tensor : quant::size_report(model).tensors) {
    if (!tensor.coded()) continue;
    const auto x = a.state.get(tensor.name).span<float>(),
               y = b.state.get(tensor.name).span<float>();
    for (std::size_t i = 0; i < x.size(); ++i) {
      off += (x[i] - y[i]) * static_cast<double>(x[i] - y[i]);
      all += x[i] * static_cast<double>(x[i]);
    }
  }
  return std::sqrt(off / all);
}

TEST(OnnxExport, NearestStepsOfAnyCodebook) {
  const Model lenet = zoo_model("lenet300");
  for (const char* codebook : {"adaptive:4", "adaptive:16", "adaptive:200", "vector:16x2"}) {
    SCOPED_TRACE(codebook);
    const Model model = packed(lenet, codebook), dense = quant::decoded(model);
    double before = 1;
    for (const int bits : {2, 4, 8}) {
      const Exported exported = export_model(model, {.affine_bits = bits});
      EXPECT_EQ(exported.looked_up, 0);
      double off = 0, all = 0;
      for (const WrittenWeight& weight : exported.weights) {
        const auto w = dense.state.get(weight.name).span<float>();
        double energy = 0;
        for (const float v : w) energy += v * static_cast<double>(v);
        off += weight.error * weight.error * energy;
        all += energy;
      }
      // What the export says is what it has done.
      const double error = distance(model, back(exported, codebook));
      EXPECT_NEAR(std::sqrt(off / all), error, 1e-4 + 1e-3 * error);
      EXPECT_LE(error, before);
      before = error;
    }
    EXPECT_LT(before, 0.006);
  }
}

// No step and zero point of a fine grid are nearer.
TEST(OnnxExport, NearestStepsAreTheLeastOfAGrid) {
  const std::vector<float> entries = {-0.9f, -0.2f, 0.35f, 1.7f};
  const std::vector<double> counts = {5, 40, 30, 2};
  Tensor tensor(DType::f32, Shape({1, 4}));
  std::ranges::copy(entries, tensor.span<float>().begin());
  const auto error_of = [&](double step, int zero, int most) {
    double out = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const double level =
          std::clamp(std::nearbyint(entries[i] / step), -1. * zero, most - 1. * zero);
      out += counts[i] * std::pow(entries[i] - level * step, 2);
    }
    return out;
  };
  double energy = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) energy += counts[i] * entries[i] * entries[i];
  for (const int bits : {2, 4}) {
    const int most = (1 << bits) - 1;
    double least = energy;
    for (int zero = 0; zero <= most; ++zero)
      for (int i = 1; i <= 4000; ++i) least = std::min(least, error_of(i * 0.0005, zero, most));
    const Affine found = nearest_affine(tensor, counts, bits);
    EXPECT_LE(found.error, std::sqrt(least / energy) * 1.02) << bits;
    EXPECT_EQ(found.bits, bits);
  }
}

TEST(OnnxExport, NamesAllThatOnnxLacks) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({4, 3}));
  const Value seed = graph.constant(1, {DType::s64, {}, {}});
  graph.set_output("y",
                   x + ops::uniform(seed, seed, {4, 3}, 1) + ops::uniform(seed, seed, {4, 3}, 2));
  const Model model{std::move(graph), {}};
  try {
    export_model(model);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "ONNX has nothing for these operators: 2 uniform");
  }
}

}  // namespace
}  // namespace tessera::onnx
