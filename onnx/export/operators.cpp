// What each operator becomes in ONNX, one node or a few.
#include <algorithm>

#include "core/error.h"
#include "onnx/export/exporter.h"
#include "ops/codebook/codebook.h"
#include "ops/conv/conv.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "ops/pool/pool.h"
#include "ops/recurrent/lstm.h"
#include "ops/sparse/positions.h"
#include "ops/sparse/sparse.h"
#include "ops/upsample/upsample.h"

namespace tessera::onnx {

namespace {

using Write = std::string (*)(Exporter&, const Node&);  // gives the name of the first result

AttributeWriter attributes() {
  return {};
}

int onnx_type(DType dtype) {
  switch (dtype) {
    case DType::s8:
      return static_cast<int>(ElementType::s8);
    case DType::u8:
      return static_cast<int>(ElementType::u8);
    case DType::s32:
      return static_cast<int>(ElementType::s32);
    case DType::s64:
      return static_cast<int>(ElementType::s64);
    default:
      return static_cast<int>(ElementType::f32);
  }
}

std::string as_real(Exporter& e, const std::string& truth) {
  return e.out().node("Cast", {truth}, attributes().integer("to", onnx_type(DType::f32)));
}

// ---- elementwise ----

struct Same {
  const OpDef* op;
  std::string_view onnx;
};
constexpr Same kSame[] = {
    {&kAdd, "Add"},     {&kSub, "Sub"},           {&kMul, "Mul"},         {&kDiv, "Div"},
    {&kMaximum, "Max"}, {&kMinimum, "Min"},       {&kPow, "Pow"},         {&kNeg, "Neg"},
    {&kAbs, "Abs"},     {&kSqrt, "Sqrt"},         {&kExp, "Exp"},         {&kLog, "Log"},
    {&kTanh, "Tanh"},   {&kSigmoid, "Sigmoid"},   {&kRelu, "Relu"},       {&kSign, "Sign"},
    {&kSin, "Sin"},     {&kCos, "Cos"},           {&kFloor, "Floor"},     {&kRound, "Round"},
    {&kErf, "Erf"},     {&kSoftplus, "Softplus"}, {&kDetach, "Identity"},
};

template <const char* op>
std::string compared(Exporter& e, const Node& n) {
  return as_real(e, e.out().node(op, {e.in(n, 0), e.in(n, 1)}));
}
constexpr char kGreaterName[] = "Greater", kGreaterEqualName[] = "GreaterOrEqual",
               kEqualName[] = "Equal";

std::string where(Exporter& e, const Node& n) {
  const std::string truth = e.out().node("Cast", {e.in(n, 0)}, attributes().integer("to", 9));
  return e.out().node("Where", {truth, e.in(n, 1), e.in(n, 2)});
}
std::string clamp(Exporter& e, const Node& n) {
  return e.out().node("Min", {e.out().node("Max", {e.in(n, 0), e.in(n, 1)}), e.in(n, 2)});
}
std::string rsqrt(Exporter& e, const Node& n) {
  return e.out().node("Reciprocal", {e.out().node("Sqrt", {e.in(n, 0)})});
}
std::string square(Exporter& e, const Node& n) {
  return e.out().node("Mul", {e.in(n, 0), e.in(n, 0)});
}
std::string first(Exporter& e, const Node& n) {
  return e.in(n, 0);
}

// ---- types, reductions ----

std::string cast(Exporter& e, const Node& n) {
  return e.out().node("Cast", {e.in(n, 0)},
                      attributes().integer("to", onnx_type(n.types()[0].dtype)));
}
std::string one_hot(Exporter& e, const Node& n) {
  const Shape& shape = n.types()[0].shape;
  const float values[] = {0, 1};
  const std::string off_on = e.out().reals(e.out().unique("off_on"), {2}, values);
  return e.out().node("OneHot",
                      {e.in(n, 0), e.out().ints({shape[shape.rank() - 1].value()}), off_on});
}

std::string reduced(Exporter& e, const Node& n, const char* op, std::int64_t since) {
  const Ints& axes = n.attrs().integers("axes");
  AttributeWriter a = attributes().integer("keepdims", n.attrs().boolean("keep"));
  if (axes.empty()) return e.in(n, 0);
  if (e.out().opset() >= since) return e.out().node(op, {e.in(n, 0), e.out().ints(axes)}, a);
  return e.out().node(op, {e.in(n, 0)}, a.list("axes", axes));
}
std::string sum(Exporter& e, const Node& n) {
  return reduced(e, n, "ReduceSum", 13);
}
std::string max(Exporter& e, const Node& n) {
  return reduced(e, n, "ReduceMax", 18);
}
std::string count(Exporter& e, const Node& n) {
  const Shape& shape = n.input(0).shape();
  Shape counted;
  for (const std::int64_t axis : n.attrs().integers("axes"))
    counted.push_back(shape[static_cast<int>(axis)]);
  if (!counted.is_symbolic()) return e.out().real(static_cast<double>(counted.numel()));
  const std::string dims = as_real(e, e.shape_at_run_time(counted));
  return e.out().node("ReduceProd", {dims}, attributes().integer("keepdims", 0));
}
std::string argmax(Exporter& e, const Node& n) {
  const std::string at =
      e.out().node("ArgMax", {e.in(n, 0)},
                   attributes().integer("axis", n.attrs().integer("axis")).integer("keepdims", 0));
  return e.out().node("Cast", {at}, attributes().integer("to", onnx_type(DType::s32)));
}
std::string softmax(Exporter& e, const Node& n) {
  return e.out().node("Softmax", {e.in(n, 0)},
                      attributes().integer("axis", n.attrs().integer("axis")));
}
std::string log_softmax(Exporter& e, const Node& n) {
  return e.out().node("LogSoftmax", {e.in(n, 0)},
                      attributes().integer("axis", n.attrs().integer("axis")));
}

// ---- movement ----

std::string reshape(Exporter& e, const Node& n) {
  return e.out().node("Reshape", {e.in(n, 0), e.reshape_to(n.types()[0].shape)});
}
std::string broadcast_to(Exporter& e, const Node& n) {
  return e.out().node("Expand", {e.in(n, 0), e.shape_at_run_time(n.types()[0].shape)});
}
std::string transpose(Exporter& e, const Node& n) {
  return e.out().node("Transpose", {e.in(n, 0)},
                      attributes().list("perm", n.attrs().integers("perm")));
}
std::string slice(Exporter& e, const Node& n) {
  const Attrs& a = n.attrs();
  GraphWriter& w = e.out();
  return w.node("Slice", {e.in(n, 0), w.ints({a.integer("begin")}), w.ints({a.integer("end")}),
                          w.ints({a.integer("axis")}), w.ints({a.integer("step")})});
}
std::string concat(Exporter& e, const Node& n) {
  std::vector<std::string> parts;
  for (int i = 0; i < static_cast<int>(n.inputs().size()); ++i) parts.push_back(e.in(n, i));
  return e.out().node("Concat", parts, attributes().integer("axis", n.attrs().integer("axis")));
}
std::string place(Exporter& e, const Node& n) {
  const Shape& from = n.input(0).shape();
  const int axis = from.normalize(static_cast<int>(n.attrs().integer("axis")));
  const std::int64_t before = n.attrs().integer("begin");
  const std::int64_t after = n.attrs().integer("size") - before - from[axis].value();
  Ints pads(static_cast<std::size_t>(2 * from.rank()), 0);
  pads[static_cast<std::size_t>(axis)] = before;
  pads[static_cast<std::size_t>(axis + from.rank())] = after;
  return e.out().node("Pad", {e.in(n, 0), e.out().ints(pads)});
}

// ---- layers ----

std::string matmul(Exporter& e, const Node& n) {
  const bool ta = n.attrs().boolean("transpose_a"), tb = n.attrs().boolean("transpose_b");
  const Value b = n.input(1);
  if (e.codebook(b) != nullptr && !ta) {
    // [in, out], in blocks along "in": what runtimes multiply without unpacking.
    return e.out().node("MatMul", {e.in(n, 0), e.weight(b, tb)});
  }
  if (!ta && !tb) return e.out().node("MatMul", {e.in(n, 0), e.in(n, 1)});
  return e.out().node("Gemm", {e.in(n, 0), e.in(n, 1)},
                      attributes().integer("transA", ta).integer("transB", tb));
}
std::string batched_matmul(Exporter& e, const Node& n) {
  const auto operand = [&](int i, const char* flag) {
    if (!n.attrs().boolean(flag)) return e.in(n, i);
    Ints perm;
    for (int axis = 0; axis < n.input(i).shape().rank(); ++axis) perm.push_back(axis);
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    return e.out().node("Transpose", {e.in(n, i)}, attributes().list("perm", perm));
  };
  const std::string a = operand(0, "transpose_a"), b = operand(1, "transpose_b");
  return e.out().node("MatMul", {a, b});
}
std::string conv(Exporter& e, const Node& n) {
  return e.out().node("Conv", {e.in(n, 0), e.in(n, 1)}, conv_attributes(n));
}
std::string conv_transpose(Exporter& e, const Node& n) {
  const Attrs& a = n.attrs();
  const Ints &stride = a.integers("stride"), &dilation = a.integers("dilation"),
             &padding = a.integers("padding");
  Ints more;
  for (std::size_t d = 0; d < 2; ++d) {
    const int axis = static_cast<int>(d) + 2;
    const std::int64_t all = stride[d] * (n.input(0).shape()[axis].value() - 1) +
                             (n.input(1).shape()[axis].value() - 1) * dilation[d] + 1;
    more.push_back(n.types()[0].shape[axis].value() - (all - padding[d] - padding[d + 2]));
  }
  return e.out().node("ConvTranspose", {e.in(n, 0), e.in(n, 1)},
                      conv_attributes(n).list("output_padding", more));
}

AttributeWriter pool_attributes(const Node& n) {
  return attributes()
      .list("kernel_shape", n.attrs().integers("kernel"))
      .list("strides", n.attrs().integers("stride"))
      .list("pads", n.attrs().integers("padding"));
}
std::string max_pool(Exporter& e, const Node& n) {
  return e.out().node("MaxPool", {e.in(n, 0)}, pool_attributes(n));
}
std::string avg_pool(Exporter& e, const Node& n) {
  return e.out().node(
      "AveragePool", {e.in(n, 0)},
      pool_attributes(n).integer("count_include_pad", n.attrs().boolean("count_pad")));
}
std::string upsample(Exporter& e, const Node& n) {
  const auto factor = static_cast<float>(n.attrs().integer("factor"));
  const bool bilinear = n.attrs().boolean("bilinear");
  const float scales[] = {1, 1, factor, factor};
  const std::string by = e.out().reals(e.out().unique("scales"), {4}, scales);
  return e.out().node(
      "Resize", {e.in(n, 0), "", by},
      attributes()
          .text("mode", bilinear ? "linear" : "nearest")
          .text("coordinate_transformation_mode", bilinear ? "half_pixel" : "asymmetric")
          .text("nearest_mode", "floor"));
}
std::string embedding(Exporter& e, const Node& n) {
  return e.out().node("Gather", {e.in(n, 0), e.in(n, 1)});
}

// Zeros, and the values where they belong.
std::string sparse(Exporter& e, const Node& n) {
  const Shape& shape = n.types()[0].shape;
  const Tensor& stream = e.tensor(n.input(0));
  const Tensor& values = e.tensor(n.input(1));
  std::vector<std::int32_t> at;
  for (const std::int64_t position :
       decode_positions(stream.span<std::uint8_t>(), values.numel(), shape.numel()))
    at.push_back(static_cast<std::int32_t>(position));
  check(shape.numel() < kMaxDim, "a sparse correction of ", shape.numel(), " weights");
  GraphWriter& w = e.out();
  const std::string places = w.unique(n.input(0).node->name());
  w.tensor(places, ElementType::s32, {values.numel()},
           {reinterpret_cast<const char*>(at.data()), at.size() * sizeof(at[0])});
  const std::string zeros = w.node("Expand", {w.real(0), w.ints({shape.numel()})});
  const std::string all = w.node("ScatterElements", {zeros, places, e.in(n, 1)});
  return w.node("Reshape", {all, w.ints(shape.values())});
}

struct Row {
  const OpDef* op;
  Write write;
};
constexpr Row kRows[] = {
    {&kGreater, compared<kGreaterName>},
    {&kGreaterEqual, compared<kGreaterEqualName>},
    {&kEqual, compared<kEqualName>},
    {&kWhere, where},
    {&kClamp, clamp},
    {&kRsqrt, rsqrt},
    {&kSquare, square},
    {&kScaleGradient, first},
    {&kDecode, first},
    {&kCast, cast},
    {&kOneHot, one_hot},
    {&kSum, sum},
    {&kMax, max},
    {&kCount, count},
    {&kArgmax, argmax},
    {&kSoftmax, softmax},
    {&kLogSoftmax, log_softmax},
    {&kReshape, reshape},
    {&kBroadcastTo, broadcast_to},
    {&kTranspose, transpose},
    {&kSlice, slice},
    {&kConcat, concat},
    {&kPlace, place},
    {&kMatmul, matmul},
    {&kBatchedMatmul, batched_matmul},
    {&kConv2d, conv},
    {&kConv2dGradInput, conv_transpose},
    {&kMaxPool2d, max_pool},
    {&kAvgPool2d, avg_pool},
    {&kUpsample2d, upsample},
    {&kEmbedding, embedding},
    {&kSparse, sparse},
};

const Row* find(const OpDef& op) {
  const auto found = std::ranges::find(kRows, &op, &Row::op);
  return found == std::end(kRows) ? nullptr : found;
}

}  // namespace

AttributeWriter conv_attributes(const Node& n) {
  const Attrs& a = n.attrs();
  const Shape& weight = n.input(1).shape();
  return AttributeWriter()
      .list("kernel_shape", {weight[2].value(), weight[3].value()})
      .list("strides", a.integers("stride"))
      .list("dilations", a.integers("dilation"))
      .list("pads", a.integers("padding"))
      .integer("group", a.integer("groups"));
}

bool knows(const Node& node) {
  if (&node.op() == &kPlace) return node.attrs().integer("step") == 1;
  if (&node.op() == &kLstmScan) return true;
  return find(node.op()) != nullptr ||
         std::ranges::find(kSame, &node.op(), &Same::op) != std::end(kSame);
}

void write_node(Exporter& e, const Node& node) {
  if (const Row* row = find(node.op())) return e.set(node.output(), row->write(e, node));
  const Same* same = std::ranges::find(kSame, &node.op(), &Same::op);
  std::vector<std::string> inputs;
  for (int i = 0; i < static_cast<int>(node.inputs().size()); ++i) inputs.push_back(e.in(node, i));
  e.set(node.output(), e.out().node(same->onnx, inputs));
}

}  // namespace tessera::onnx
