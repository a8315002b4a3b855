// What the node tests of the ONNX project do not reach: older versions, batches that files have as
// a number, shape arithmetic of mixed types, sizes that are out of range.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/compile.h"
#include "core/files/atomic_file.h"
#include "core/op_def.h"
#include "onnx/import.h"
#include "onnx/wire.h"
#include "tests/datasets/temp_dir.h"
#include "tests/error_of.h"

namespace tessera::onnx {
namespace {

using tessera::testing::error_of;
using Shape64 = std::vector<std::int64_t>;

struct Attribute {
  std::string name;
  Shape64 numbers;
  bool list = false;
};

struct NodeText {
  std::string op;
  std::vector<std::string> inputs, outputs;
  std::vector<Attribute> attributes = {};
};

class File {
 public:
  explicit File(std::int64_t opset) : opset_(opset) {}

  // A dimension of -1 is the symbol N.
  File& input(const std::string& name, const Shape64& dims) {
    FieldWriter shape, tensor, type, value;
    for (const std::int64_t d : dims) {
      FieldWriter dim;
      d < 0 ? dim.bytes(2, "N") : dim.integer(1, d);
      shape.message(1, dim);
    }
    tensor.integer(1, 1), tensor.message(2, shape);
    type.message(1, tensor);
    value.bytes(1, name), value.message(2, type);
    graph_.message(11, value);
    return *this;
  }
  template <class T>
  File& initializer(const std::string& name, int type, const Shape64& dims,
                    const std::vector<T>& values) {
    FieldWriter tensor;
    for (const std::int64_t d : dims) tensor.integer(1, d);
    tensor.integer(2, type), tensor.bytes(8, name);
    tensor.bytes(9, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
    graph_.message(5, tensor);
    return *this;
  }
  File& floats(const std::string& name, const Shape64& dims, const std::vector<float>& values) {
    return initializer(name, 1, dims, values);
  }
  File& integers(const std::string& name, const Shape64& dims, const Shape64& values) {
    return initializer(name, 7, dims, values);
  }
  File& node(const NodeText& text) {
    FieldWriter node;
    for (const auto& name : text.inputs) node.bytes(1, name);
    for (const auto& name : text.outputs) node.bytes(2, name);
    node.bytes(3, "n"), node.bytes(4, text.op);
    for (const Attribute& a : text.attributes) {
      FieldWriter attribute;
      attribute.bytes(1, a.name);
      for (const std::int64_t v : a.numbers) attribute.integer(a.list ? 8 : 3, v);
      attribute.integer(20, a.list ? 7 : 2);
      node.message(5, attribute);
    }
    graph_.message(1, node);
    return *this;
  }
  Imported import(const std::string& output = "y", const ImportOptions& options = {}) {
    FieldWriter value, opset, model;
    value.bytes(1, output);
    graph_.message(12, value);
    opset.integer(2, opset_);
    model.integer(1, 8), model.message(8, opset), model.message(7, graph_);
    write_file(folder_.path() / "m.onnx", model.text());
    return import_model(folder_.path() / "m.onnx", options);
  }
  std::string refusal(const ImportOptions& options = {}) {
    return error_of([&] { import("y", options); });
  }

 private:
  std::int64_t opset_;
  datasets::TempDir folder_;
  FieldWriter graph_;
};

std::vector<float> counted(std::int64_t n) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(static_cast<float>(i + 1));
  return out;
}

std::vector<float> run(const Imported& imported, const Tensor& x, std::int64_t batch = 1) {
  return compile(imported.model, {.batch = batch})
      .run({{"x", x}})
      .begin()
      ->second.to_vector<float>();
}

// PyTorch's nn.AvgPool2d(3, 2, ceil_mode=True): what only rounding up adds is in no mean, padding
// is.
TEST(OnnxSemantics, AveragesOfWindowsThatRoundingUpAdds) {
  const Tensor x = Tensor::from(counted(16), {1, 1, 4, 4});
  const std::vector<Attribute> common = {
      {"kernel_shape", {3, 3}, true}, {"strides", {2, 2}, true}, {"ceil_mode", {1}}};
  const auto pooled = [&](std::vector<Attribute> more) {
    more.insert(more.end(), common.begin(), common.end());
    return run(File(17).input("x", {1, 1, 4, 4}).node({"AveragePool", {"x"}, {"y"}, more}).import(),
               x);
  };
  const std::vector<float> plain = {6, 7.5, 12, 13.5};
  EXPECT_EQ(pooled({{"count_include_pad", {1}}}), plain);
  EXPECT_EQ(pooled({}), plain);
  // One row and column of padding on every side: 5 x 5 and 6 x 6 places, of which 36 are counted.
  const auto padded = pooled({{"count_include_pad", {1}}, {"pads", {1, 1, 1, 1}, true}});
  ASSERT_EQ(padded.size(), 9u);
  EXPECT_FLOAT_EQ(padded[0], (1 + 2 + 5 + 6) / 9.0f);
  EXPECT_FLOAT_EQ(padded[8], 16 / 4.0f);  // and its row, column and corner of padding
}

TEST(OnnxSemantics, ShapesOfOneBatchAreForAny) {
  ImportOptions any;
  any.any_batch = true;
  const auto reshape = [](File& file, const Shape64& dims, const Shape64& to) -> File& {
    file.input("x", dims).integers("s", {static_cast<std::int64_t>(to.size())}, to);
    return file.node({"Reshape", {"x", "s"}, {"y"}});
  };
  for (const Shape64& to : {Shape64{1, -1}, Shape64{1, 12}, Shape64{-1, 12}, Shape64{0, 12}}) {
    File file(17);
    const Imported imported = reshape(file, {1, 3, 4}, to).import("y", any);
    EXPECT_EQ(imported.model.graph.outputs()[0].second.shape(), Shape({kBatch, 12})) << to[0];
  }
  File twice(17), mixed(17);
  const Imported multiple = reshape(twice, {2, 3, 4}, {6, 4}).import("y", any);
  EXPECT_EQ(multiple.model.graph.outputs()[0].second.shape(), Shape({Dim::symbolic(3), 4}));
  // Rows of one sample: with more samples they would be mixed.
  EXPECT_NE(reshape(mixed, {1, 3, 4}, {3, 4}).refusal(any).find("one size of the batch"),
            std::string::npos);
}

TEST(OnnxSemantics, OperandsMeetFromTheEndOrAreRefused) {
  File file(6);
  file.input("x", {1, 7, 7, 7}).floats("b", {7}, counted(7));
  file.node({"Add", {"x", "b"}, {"y"}, {{"broadcast", {1}}, {"axis", {1}}}});
  EXPECT_NE(file.refusal().find("1 Add ('n'): operands that meet along a given axis"),
            std::string::npos);
}

TEST(OnnxSemantics, AttributesThatNobodyReadsAreRefused) {
  File file(17);
  file.input("x", {1, 4}).node({"Relu", {"x"}, {"y"}, {{"leak", {1}}}});
  EXPECT_NE(file.refusal().find("1 Relu ('n'): attribute 'leak' is not understood"),
            std::string::npos);
}

TEST(OnnxSemantics, ATransposeThatMovesNothingIsNone) {
  const Tensor x = Tensor::from(std::vector<float>{1, 10}, {1, 2});
  File file(17);
  file.input("x", {1, 2}).floats("w", {2, 2}, {1, 2, 3, 4});
  file.node({"Transpose", {"w"}, {"t"}, {{"perm", {0, 1}, true}}});
  file.node({"MatMul", {"x", "t"}, {"y"}});
  EXPECT_EQ(run(file.import(), x), (std::vector<float>{31, 42}));
}

TEST(OnnxSemantics, AProductOfTwoActivationsIsOneOperator) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}, {2, 2, 2});
  File file(17);
  file.input("x", {2, 2, 2});
  file.node({"Transpose", {"x"}, {"t"}, {{"perm", {0, 2, 1}, true}}});
  file.node({"MatMul", {"x", "t"}, {"y"}});
  const Imported imported = file.import();
  int products = 0;
  for (const Node& node : imported.model.graph.nodes())
    products += node.op().name == "batched_matmul";
  EXPECT_EQ(products, 1);
  EXPECT_EQ(run(imported, x), (std::vector<float>{5, 11, 11, 25, 61, 83, 83, 113}));
}

TEST(OnnxSemantics, OneSlopeIsTrained) {
  File file(17);
  file.input("x", {1, 2, 2})
      .floats("slope", {1, 1}, {0.25f})
      .node({"PRelu", {"x", "slope"}, {"y"}});
  const Imported imported = file.import();
  ASSERT_EQ(imported.model.graph.parameters().size(), 1u);
  EXPECT_EQ(imported.model.graph.parameters()[0]->name(), "slope");
  EXPECT_EQ(run(imported, Tensor::from(std::vector<float>{1, -1, 2, -8}, {1, 2, 2})),
            (std::vector<float>{1, -0.25f, 2, -2}));
}

// Sizes and types that would have numbers read where there are none.
TEST(OnnxSemantics, SizesAndTypesOutOfRangeAreRefused) {
  for (const std::int64_t block : {std::int64_t{-1}, std::int64_t{1} << 62}) {
    File file(21);
    file.initializer("q", 3, {4, 8}, std::vector<std::int8_t>(32, 1));
    file.floats("scale", {8}, counted(8));
    file.node(
        {"DequantizeLinear", {"q", "scale"}, {"y"}, {{"axis", {1}}, {"block_size", {block}}}});
    EXPECT_NE(file.refusal().find("block_size"), std::string::npos);
  }
  File where(17);
  where.initializer("c", 9, {1}, std::vector<std::uint8_t>{0});
  where.integers("a", {1}, {5}).floats("b", {}, {0.5f}).node({"Where", {"c", "a", "b"}, {"y"}});
  EXPECT_NE(where.refusal().find("operands of"), std::string::npos);
  File mul(17);
  mul.input("x", {-1, 4}).integers("i", {}, {0}).floats("f", {}, {0.5f});
  mul.node({"Shape", {"x"}, {"s"}}).node({"Gather", {"s", "i"}, {"n"}});
  mul.node({"Mul", {"n", "f"}, {"y"}});
  EXPECT_NE(mul.refusal().find("operands of"), std::string::npos);
  File pow(17);
  pow.input("x", {-1, 4}).integers("i", {}, {0}).floats("f", {}, {0.5f});
  pow.node({"Shape", {"x"}, {"s"}}).node({"Gather", {"s", "i"}, {"n"}});
  pow.node({"Pow", {"n", "f"}, {"y"}});
  EXPECT_NE(pow.refusal().find("is not known"), std::string::npos);
  File type(21);
  type.input("x", {1, 4}).floats("scale", {}, {1});
  type.node({"QuantizeLinear", {"x", "scale"}, {"y"}, {{"output_dtype", {77}}}});
  EXPECT_NE(type.refusal().find("quantized to"), std::string::npos);
}

// As quantization tools write them: int8 with a scale and a zero point per channel, of filters and
// of a matrix [in, out].
TEST(OnnxSemantics, IntegersWithScalesAreCodebooks) {
  const auto integers = [](std::int64_t n, int modulus) {
    std::vector<std::int8_t> out;
    for (std::int64_t i = 0; i < n; ++i)
      out.push_back(static_cast<std::int8_t>((i * i / 3 + i) % modulus - 3));
    return out;
  };
  const auto product = [&](const Shape64& scales, int modulus, std::int64_t axis,
                           std::int64_t block, bool dense) {
    std::int64_t n = 1;
    for (const std::int64_t d : scales) n *= d;
    std::vector<float> scale;
    std::vector<std::int8_t> zero;
    for (std::int64_t i = 0; i < n; ++i)
      scale.push_back(0.25f + 0.125f * static_cast<float>(i)),
          zero.push_back(static_cast<std::int8_t>(i % 2));
    File file(21);
    file.input("x", {1, 6}).initializer("w", 3, {6, 4}, integers(24, modulus));
    file.floats("s", scales, scale).initializer("z", 3, scales, zero);
    std::vector<Attribute> attributes = {{"axis", {axis}}};
    if (block > 0) attributes.push_back({"block_size", {block}});
    file.node({"DequantizeLinear", {"w", "s", "z"}, {"d"}, attributes});
    file.node({"MatMul", {"x", "d"}, {"y"}});
    ImportOptions options;
    options.dense = dense;
    return file.import("y", options);
  };
  struct Case {
    Shape64 scales;
    int modulus;
    std::int64_t axis, block;
    std::string packed;  // of the weight, "" where it stays f32
  };
  const Tensor x = Tensor::from(counted(6), {1, 6});
  for (const Case& c : std::vector<Case>{{{}, 4, 0, 0, "cb2"},
                                         {{4}, 4, 1, 0, "cb3/srow"},
                                         {{2, 4}, 11, 0, 3, "cb4/s3"},
                                         {{6}, 4, 0, 0, ""}}) {
    SCOPED_TRACE(cat(c.packed, " ", c.block));
    const Imported packed = product(c.scales, c.modulus, c.axis, c.block, false);
    const Imported dense = product(c.scales, c.modulus, c.axis, c.block, true);
    EXPECT_EQ(run(packed, x), run(dense, x));
    EXPECT_NE(run(packed, x).back(), 0);
    EXPECT_EQ(dense.model.state.get("w").shape(), Shape({4, 6}));
    std::string encoding;
    for (const Node& node : packed.model.graph.nodes())
      if (node.types()[0].encoding.is_codebook()) encoding = node.types()[0].encoding.text();
    EXPECT_EQ(encoding, c.packed);
    EXPECT_EQ(packed.notes.empty(), !c.packed.empty());
  }
  // What is added as well as multiplied by stays f32.
  File both(21);
  both.input("x", {1, 4}).initializer("w", 3, {4, 4}, integers(16, 5)).floats("s", {}, {0.5f});
  both.node({"DequantizeLinear", {"w", "s"}, {"d"}}).node({"MatMul", {"x", "d"}, {"m"}});
  both.node({"Add", {"d", "m"}, {"y"}});
  const Imported read_twice = both.import();
  EXPECT_EQ(run(read_twice, Tensor::from(counted(4), {1, 4})).size(), 16u);
  EXPECT_TRUE(std::ranges::any_of(read_twice.notes, [](const std::string& note) {
    return note.find("is f32 here: an operator that reads it") != note.npos;
  }));
  const auto filtered = [&](const ImportOptions& options) {
    File file(21);
    file.input("x", {1, 2, 4, 4}).initializer("w", 3, {3, 2, 2, 2}, integers(24, 11));
    file.floats("s", {3}, {0.5f, 1, 2});
    file.node({"DequantizeLinear", {"w", "s"}, {"d"}, {{"axis", {0}}}});
    file.node({"Conv", {"x", "d"}, {"y"}});
    return file.import("y", options);
  };
  const Tensor image = Tensor::from(counted(32), {1, 2, 4, 4});
  ImportOptions dense;
  dense.dense = true;
  const Imported conv = filtered({});
  EXPECT_EQ(conv.model.state.get("w.scale").shape(), Shape({3, 1}));
  EXPECT_EQ(run(conv, image), run(filtered(dense), image));
}

// A list that every node copies: a small file that asks for any amount.
TEST(OnnxSemantics, WhatAGraphIsMadeIntoIsBounded) {
  File file(17);
  file.integers("shape", {1}, {1 << 16}).node({"ConstantOfShape", {"shape"}, {"v0"}});
  for (int i = 0; i < 700; ++i) file.node({"Identity", {cat("v", i)}, {cat("v", i + 1)}});
  reset_allocation_peak();
  const std::string refusal = file.refusal();
  EXPECT_NE(refusal.find("bytes of memory, more than the limit"), std::string::npos) << refusal;
}

}  // namespace
}  // namespace tessera::onnx
