// A network of others: tessera import, then compressed and measured by an application.
#include "core/compile.h"
#include "core/rng.h"
#include "onnx/export.h"
#include "ops/build.h"
#include "ops/load.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/apps/app.h"

namespace tessera::testing {
namespace {

// One layer and a softmax, as others export it.
Model probabilities() {
  Model model{Graph(ops::standard_ops()), {}};
  const Value image = model.graph.input("image", f32({kBatch, 784}));
  const Value weight = model.graph.param("layer.weight", f32({10, 784}));
  const Value bias = model.graph.param("layer.bias", f32({10}));
  model.graph.set_output("probabilities", ops::softmax(ops::linear(image, weight, bias)));
  Tensor numbers(DType::f32, {10, 784}), more(DType::f32, {10});
  Rng rng(1, 0);
  for (float& v : numbers.span<float>()) v = rng.uniform(-0.1f, 0.1f);
  for (float& v : more.span<float>()) v = rng.uniform(-0.1f, 0.1f);
  model.state.set("layer.weight", numbers);
  model.state.set("layer.bias", more);
  return model;
}

class OnnxNetwork : public App {
 protected:
  OnnxNetwork() : App("mnist") {}
  Result tool(const Args& args) const { return run(program("tessera"), args, folder.path()); }
};

TEST_F(OnnxNetwork, IsCompressedAndMeasuredLikeOneOfOurs) {
  Model model = probabilities();
  write_file(path("net.onnx"), onnx::export_model(model).bytes);
  model.graph = specialize(model.graph, 1);
  write_file(path("one.onnx"), onnx::export_model(model).bytes);

  const Result said = tool({"import", path("net.onnx"), "--out", path("net.json")});
  ASSERT_EQ(said.code, 0) << said.error;
  EXPECT_NE(said.out.find("is a softmax"), said.out.npos) << said.out;
  const Model imported = load(path("net.json"));
  EXPECT_EQ(imported.graph.inputs()[0]->name(), "x");
  EXPECT_EQ(imported.graph.output("logits").node->op().name, "add");
  EXPECT_EQ(tool({"import", path("net.onnx"), "--out", path("net.json")}).code, 2);  // it is there
  ASSERT_EQ(tool({"import", path("net.onnx"), "--keep-names", "--out", path("kept.json")}).code, 0);
  EXPECT_EQ(load(path("kept.json")).graph.outputs()[0].first, "probabilities");
  ASSERT_EQ(tool({"import", path("one.onnx"), "--any-batch", "--out", path("any.json")}).code, 0);
  EXPECT_EQ(load(path("any.json")).graph.inputs()[0]->types()[0].shape, Shape({kBatch, 784}));

  const Json row = json({"compress", "--from", path("net.json"), "--method", "dc", "--codebook",
                         "uniform:4", "--out", path("small")});
  const std::string packed = path("small/net-dc-uniform4-s1.json");
  ASSERT_TRUE(std::filesystem::exists(packed)) << row;
  EXPECT_TRUE(load(packed).settings.contains("own_graph"));
  const Result measured = must({"eval", packed});
  EXPECT_NE(measured.out.find("test error"), measured.out.npos) << measured.out;

  ASSERT_EQ(tool({"export", packed, "--out", path("small.onnx")}).code, 0);
  EXPECT_LT(std::filesystem::file_size(path("small.onnx")), 784 * 10 / 2 + 1500u);
}

}  // namespace
}  // namespace tessera::testing
