// What is exported and imported again gives the same outputs: networks of every kind, dense and
// packed.
#include <gtest/gtest.h>

#include "core/files/atomic_file.h"
#include "core/files/graph_json.h"
#include "onnx/export.h"
#include "onnx/import.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/pack/decoded.h"
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
