#include "codegen/c_ops.h"

#include <algorithm>
#include <map>

#include "codegen/c_text.h"
#include "core/text.h"
#include "ops/codebook/codebook.h"
#include "ops/conv/conv.h"
#include "ops/elementwise/elementwise.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/pool/pool.h"
#include "ops/recurrent/lstm.h"
#include "ops/sparse/sparse.h"
#include "ops/upsample/upsample.h"

namespace tessera {

namespace {

std::string listed_numbers(const std::vector<std::int64_t>& numbers) {
  std::string out;
  for (const auto n : numbers) out += cat(out.empty() ? "" : ", ", n);
  return out;
}

std::vector<std::int64_t> strides(const Shape& shape) {
  return strides_of(shape.values());
}

// ---- elementwise ----

Program one_op(const Node& node) {
  Program out;
  out.inputs = static_cast<int>(node.inputs().size());
  Instruction instruction{&node.op(), {}};
  for (int i = 0; i < out.inputs; ++i) instruction.args.push_back({Operand::Kind::input, i, 0});
  out.code.push_back(std::move(instruction));
  out.outputs = {0};
  return out;
}

void elementwise(CWriter& c, const Node& node) {
  c.program(node, one_op(node), node.types()[0].shape, nullptr, 0);
}

void fused(CWriter& c, const Node& node) {
  c.program(node, *node.attrs().program("program"), node.types()[0].shape, nullptr, 0);
}

// What follows a product in its output.
void epilogue(CWriter& c, const Node& node, int first) {
  const ProgramRef& program = node.attrs().program("epilogue");
  if (!program) return;
  const std::string own = c.pointer(node.output());
  c.program(node, *program, node.types()[0].shape, &own, first);
}

void cast(CWriter& c, const Node& node) {
  const TensorType& to = node.types()[0];
  const auto line = strides(to.shape);
  c.copy(c.pointer(node.output()), c.pointer(node.input(0)), to.shape.values(), line, line);
}

// C's conversion is the operator's where every value has a place in the new type.
std::string refuses_cast(const CWriter&, const Node& node) {
  const DType from = node.input(0).type().dtype, to = node.types()[0].dtype;
  if (to == DType::f32 && c_type(from)) return {};
  if (!is_floating(from) && to == DType::s64) return {};
  if (!is_floating(from) && to == DType::s32 && from != DType::s64) return {};
  if (from == to) return {};
  return cat("from ", name(from), " to ", name(to));
}

void one_hot(CWriter& c, const Node& node) {
  const std::int64_t classes = node.attrs().integer("classes"), n = node.input(0).shape().numel();
  const std::string x = c.pointer(node.input(0)), y = c.pointer(node.output());
  c.line(cat("for (long i = 0; i < ", n * classes, "; ++i) ", y, "[i] = ", x, "[i / ", classes,
             "] == i % ", classes, ";"));
}

// ---- products ----

void matmul(CWriter& c, const Node& node) {
  const Shape &a = node.input(0).shape(), &b = node.input(1).shape();
  const bool ta = node.attrs().boolean("transpose_a"), tb = node.attrs().boolean("transpose_b");
  const std::int64_t m = a[ta ? 1 : 0].value(), k = a[ta ? 0 : 1].value();
  const std::int64_t n = b[tb ? 0 : 1].value();
  const std::string y = c.pointer(node.output());
  c.call(tb ? "matmul" : "matmul_rows",
         cat(c.pointer(node.input(0)), ", ", listed_numbers({ta ? 1 : k, ta ? m : 1}), ", ",
             c.weights(node.input(1), tb ? n : k), ", ", y, ", ", listed_numbers({m, n, k}), ", ",
             c.buffer(tb ? k : n)));
  epilogue(c, node, 2);
}

void batched_matmul(CWriter& c, const Node& node) {
  const Shape &a = node.input(0).shape(), &b = node.input(1).shape(), &y = node.types()[0].shape;
  const bool ta = node.attrs().boolean("transpose_a"), tb = node.attrs().boolean("transpose_b");
  const std::int64_t m = y[-2].value(), n = y[-1].value(), k = a[ta ? -2 : -1].value();
  // One axis at least, so that C has no empty array.
  std::vector<std::int64_t> size = {1}, step_a = {0}, step_b = {0};
  const auto step = [&](const Shape& x, int axis) -> std::int64_t {
    const int own = axis - (y.rank() - x.rank());
    return own < 0 || x[own].is_one() ? 0 : strides(x)[static_cast<std::size_t>(own)];
  };
  for (int axis = 0; axis < y.rank() - 2; ++axis) {
    size.push_back(y[axis].value());
    step_a.push_back(step(a, axis));
    step_b.push_back(step(b, axis));
  }
  const auto list = [](const std::vector<std::int64_t>& numbers) {
    return cat("(const long[]){", listed_numbers(numbers), "}");
  };
  c.call("batched_matmul",
         cat(c.pointer(node.input(0)), ", ", listed_numbers({ta ? 1 : k, ta ? m : 1}), ", ",
             c.pointer(node.input(1)), ", ", listed_numbers({tb ? 1 : n, tb ? k : 1}), ", ",
             c.pointer(node.output()), ", ", listed_numbers({m, n, k}), ", ", size.size(), ", ",
             list(size), ", ", list(step_a), ", ", list(step_b)));
}

std::string conv_shape(const Node& node, const Shape& w) {
  const Shape &x = node.input(0).shape(), &y = node.types()[0].shape;
  const Ints &stride = node.attrs().integers("stride"),
             &dilation = node.attrs().integers("dilation"),
             &padding = node.attrs().integers("padding");
  return cat("&(const tessera_conv_shape){",
             listed_numbers({x[0].value(), x[1].value(), x[2].value(), x[3].value(), w[0].value(),
                             y[2].value(), y[3].value(), w[2].value(), w[3].value(), stride[0],
                             stride[1], dilation[0], dilation[1], padding[0], padding[1],
                             node.attrs().integer("groups")}),
             "}");
}

void conv2d(CWriter& c, const Node& node) {
  const Shape& w = node.input(1).shape();
  const std::string y = c.pointer(node.output());
  c.call("conv2d", cat(conv_shape(node, w), ", ", c.pointer(node.input(0)), ", ",
                       c.weights(node.input(1), w[0].value()), ", ", y, ", ",
                       c.buffer(w.numel() / w[0].value())));
  epilogue(c, node, 2);
}

void sparse_matmul(CWriter& c, const Node& node) {
  const Shape &a = node.input(0).shape(), &y = node.types()[0].shape;
  c.call("sparse_matmul", cat(c.pointer(node.input(0)), ", ", c.pointer(node.input(1)), ", ",
                              c.pointer(node.input(2)), ", ", node.input(2).shape().numel(), ", ",
                              c.pointer(node.output()), ", ",
                              listed_numbers({y[0].value(), y[1].value(), a[1].value()}), ", ",
                              node.attrs().boolean("transpose_b") ? 1 : 0));
}

void sparse_conv2d(CWriter& c, const Node& node) {
  c.call("sparse_conv2d",
         cat(conv_shape(node, node.attrs().shape("shape")), ", ", c.pointer(node.input(0)), ", ",
             c.pointer(node.input(1)), ", ", c.pointer(node.input(2)), ", ",
             node.input(2).shape().numel(), ", ", c.pointer(node.output())));
}

void embedding(CWriter& c, const Node& node) {
  const Shape& table = node.input(0).shape();
  c.need("embedding");
  c.may_fail();
  c.line(cat("if (!tessera_embedding(", c.weights(node.input(0), table[0].value()), ", ",
             table[0].value(), ", ", c.pointer(node.input(1)), ", ", node.input(1).shape().numel(),
             ", ", c.pointer(node.output()), ", ", c.buffer(table[1].value()), ")) return 1;"));
}

void lstm_scan(CWriter& c, const Node& node) {
  const Shape& x = node.input(0).shape();
  const std::int64_t steps = x[0].value(), batch = x[1].value(), h = x[2].value() / 4;
  const std::string y = c.pointer(node.output(0));
  // The states are results too; where nobody wants the last cell it lies in scratch.
  const std::string gates = c.buffer(h + batch * 5 * h);
  const std::string cell =
      c.is_used(node.output(2)) ? c.pointer(node.output(2)) : cat("buffer + ", h + batch * 4 * h);
  const Value gain = node.inputs().size() > 5 ? node.input(5) : Value();
  c.line(
      cat("memmove(", cell, ", ", c.pointer(node.input(3)), ", ", batch * h, " * sizeof(float));"));
  c.call("lstm",
         cat(c.pointer(node.input(0)), ", ", c.weights(node.input(1), 4 * h), ", ",
             c.pointer(node.input(2)), ", ", gain ? c.pointer(gain) : "0", ", ",
             node.attrs().boolean("norm") ? 1 : 0, ", ",
             c_literal(static_cast<float>(node.attrs().real("epsilon"))), ", ", y, ", ", cell, ", ",
             listed_numbers({steps, batch, h}), ", ", gates, " + ", h, ", ", gates));
  if (c.is_used(node.output(1))) {
    c.line(cat("memcpy(", c.pointer(node.output(1)), ", ", y, " + ", (steps - 1) * batch * h, ", ",
               batch * h, " * sizeof(float));"));
  }
}

// ---- images ----

void pool(CWriter& c, const Node& node) {
  const Shape &x = node.input(0).shape(), &y = node.types()[0].shape;
  const Ints &kernel = node.attrs().integers("kernel"), &stride = node.attrs().integers("stride"),
             &padding = node.attrs().integers("padding");
  const bool mean = &node.op() == &kAvgPool2d;
  c.call("pool", cat(c.pointer(node.input(0)), ", ", c.pointer(node.output()), ", ",
                     listed_numbers({x[0].value() * x[1].value(), x[2].value(), x[3].value(),
                                     y[2].value(), y[3].value(), kernel[0], kernel[1], stride[0],
                                     stride[1], padding[0], padding[1]}),
                     ", ",
                     !mean                               ? 0
                     : node.attrs().boolean("count_pad") ? 2
                                                         : 1));
}

void upsample(CWriter& c, const Node& node) {
  const Shape& x = node.input(0).shape();
  c.call("upsample", cat(c.pointer(node.input(0)), ", ", c.pointer(node.output()), ", ",
                         listed_numbers({x[0].value() * x[1].value(), x[2].value(), x[3].value(),
                                         node.attrs().integer("factor"),
                                         node.attrs().boolean("bilinear") ? 1 : 0})));
}

// ---- lines and sums ----

void softmax(CWriter& c, const Node& node) {
  const Shape& x = node.input(0).shape();
  const int axis = normalize_axis(node.op().name, node.attrs().integer("axis"), x);
  c.call("softmax",
         cat(c.pointer(node.input(0)), ", ", c.pointer(node.output()), ", ",
             listed_numbers({product(x, 0, axis), x[axis].value(), product(x, axis + 1, x.rank())}),
             ", ", &node.op() == &kLogSoftmax ? 1 : 0));
}

void argmax(CWriter& c, const Node& node) {
  const Shape& x = node.input(0).shape();
  const int axis = normalize_axis(node.op().name, node.attrs().integer("axis"), x);
  c.call(
      "argmax",
      cat(c.pointer(node.input(0)), ", ", c.pointer(node.output()), ", ",
          listed_numbers({product(x, 0, axis), x[axis].value(), product(x, axis + 1, x.rank())})));
}

// y, seen at the shape of x: strides 0 along what is summed.
void reduce(CWriter& c, const Node& node, const std::vector<std::int64_t>& strides_of_y) {
  const Shape& x = node.input(0).shape();
  const bool most = &node.op() == &kMax;
  const std::string from = c.pointer(node.input(0)), to = c.pointer(node.output());
  c.line(cat("for (long i = 0; i < ", node.types()[0].shape.numel(), "; ++i) ", to,
             "[i] = ", most ? "-INFINITY" : "0", ";"));
  const LoopNest nest(x.values(), {strides_of_y, strides(x)});
  const std::string y = cat(to, "[", nest.offset(0), "]"), v = cat(from, "[", nest.offset(1), "]");
  std::string text = nest.open(0);
  if (most) {
    text += cat("    if (", v, " > ", y, " || ", v, " != ", v, ") ", y, " = ", v, ";\n");
  } else {
    text += cat("    ", y, " += ", v, ";\n");
  }
  c.line(text + nest.close(0));
}

void reduce_axes(CWriter& c, const Node& node) {
  const Shape& x = node.input(0).shape();
  const Ints axes = normalize_axes(node.op().name, node.attrs().integers("axes"), x);
  std::vector<std::int64_t> out(static_cast<std::size_t>(x.rank()));
  std::int64_t stride = 1;
  for (int d = x.rank(); d-- > 0;) {
    if (contains(axes, d)) continue;
    out[static_cast<std::size_t>(d)] = stride;
    stride *= x[d].value();
  }
  reduce(c, node, out);
}

void sum_to(CWriter& c, const Node& node) {
  reduce(c, node, broadcast_strides(node.types()[0].shape, node.input(0).shape()));
}

void broadcast_to(CWriter& c, const Node& node) {
  const Shape& y = node.types()[0].shape;
  c.copy(c.pointer(node.output()), c.pointer(node.input(0)), y.values(), strides(y),
         broadcast_strides(node.input(0).shape(), y));
}

// ---- movement ----

void transpose(CWriter& c, const Node& node) {
  const Shape& y = node.types()[0].shape;
  const auto of_x = strides(node.input(0).shape());
  std::vector<std::int64_t> from;
  for (const auto axis : node.attrs().integers("perm"))
    from.push_back(of_x[static_cast<std::size_t>(axis)]);
  c.copy(c.pointer(node.output()), c.pointer(node.input(0)), y.values(), strides(y), from);
}

std::string shifted(const std::string& pointer, std::int64_t by) {
  return by == 0 ? pointer : cat(pointer, " + ", by);
}

void slice(CWriter& c, const Node& node) {
  const Shape &x = node.input(0).shape(), &y = node.types()[0].shape;
  const auto axis =
      static_cast<std::size_t>(normalize_axis("slice", node.attrs().integer("axis"), x));
  auto from = strides(x);
  const std::int64_t begin = node.attrs().integer("begin") * from[axis];
  from[axis] *= node.attrs().integer("step");
  c.copy(c.pointer(node.output()), shifted(c.pointer(node.input(0)), begin), y.values(), strides(y),
         from);
}

void place(CWriter& c, const Node& node) {
  const Shape &x = node.input(0).shape(), &y = node.types()[0].shape;
  const auto axis =
      static_cast<std::size_t>(normalize_axis("place", node.attrs().integer("axis"), x));
  auto to = strides(y);
  const std::int64_t begin = node.attrs().integer("begin") * to[axis];
  to[axis] *= node.attrs().integer("step");
  const std::string out = c.pointer(node.output());
  c.line(cat("memset(", out, ", 0, ", y.numel(), " * sizeof *", out, ");"));
  c.copy(shifted(out, begin), c.pointer(node.input(0)), x.values(), to, strides(x));
}

void concat(CWriter& c, const Node& node) {
  const auto to = strides(node.types()[0].shape);
  const auto axis = static_cast<std::size_t>(
      normalize_axis("concat", node.attrs().integer("axis"), node.types()[0].shape));
  std::int64_t begin = 0;
  for (const Value x : node.inputs()) {
    c.copy(shifted(c.pointer(node.output()), begin), c.pointer(x), x.shape().values(), to,
           strides(x.shape()));
    begin += x.shape().values()[axis] * to[axis];
  }
}

// ---- what cannot be written ----

std::string refuses_lstm(const CWriter& c, const Node& node) {
  if (node.inputs().size() > 4 && node.input(4)) return "a mask, which is for training";
  for (int i = 3; i < static_cast<int>(node.types().size()); ++i) {
    if (c.is_used(node.output(i))) return cat("result ", i, " is for training");
  }
  return {};
}

std::string refuses_program(const ProgramRef& program) {
  if (!program) return {};
  for (const Instruction& instruction : program->code) {
    if (!c_formula(*instruction.op))
      return cat("uses ", instruction.op->name, ", which has no formula");
  }
  return {};
}

struct Row {
  const OpDef* op;
  COperator write;
  std::string (*refuses)(const CWriter&, const Node&) = nullptr;
};

const Row kRows[] = {
    {&kFused, fused},
    {&kCast, cast, refuses_cast},
    {&kOneHot, one_hot},
    {&kMatmul, matmul},
    {&kBatchedMatmul, batched_matmul},
    {&kConv2d, conv2d},
    {&kSparseMatmul, sparse_matmul},
    {&kSparseConv2d, sparse_conv2d},
    {&kEmbedding, embedding},
    {&kLstmScan, lstm_scan, refuses_lstm},
    {&kMaxPool2d, pool},
    {&kAvgPool2d, pool},
    {&kUpsample2d, upsample},
    {&kSoftmax, softmax},
    {&kLogSoftmax, softmax},
    {&kArgmax, argmax},
    {&kSum, reduce_axes},
    {&kMax, reduce_axes},
    {&kSumTo, sum_to},
    {&kBroadcastTo, broadcast_to},
    {&kTranspose, transpose},
    {&kSlice, slice},
    {&kPlace, place},
    {&kConcat, concat},
};

const Row* find_row(const OpDef& op) {
  const auto* row = std::ranges::find(kRows, &op, &Row::op);
  return row == std::end(kRows) ? nullptr : row;
}

}  // namespace

COperator c_operator(const OpDef& op) {
  if (const Row* row = find_row(op)) return row->write;
  return op.has(kElementwise) && c_formula(op) ? &elementwise : nullptr;
}

std::string c_refuses(const CWriter& writer, const Node& node) {
  if (c_operator(node.op()) == nullptr) return "has no form in C";
  for (const auto& [name, value] : node.attrs().items()) {
    const auto* program = std::get_if<ProgramRef>(&value);
    if (program == nullptr) continue;
    if (auto reason = refuses_program(*program); !reason.empty()) return reason;
  }
  const Row* row = find_row(node.op());
  return row && row->refuses ? row->refuses(writer, node) : std::string();
}

}  // namespace tessera
