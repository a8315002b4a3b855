// lstm_scan as ONNX's LSTM, which makes the input's product itself: where that is the product
// before it with a bias, as nn::Lstm makes it, its weight becomes W; otherwise W only reorders the
// gates.
#include "ops/recurrent/lstm.h"
#include "core/error.h"
#include "onnx/export/exporter.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"

namespace tessera::onnx {

namespace {

// x [steps, batch, in] times weight [4h, in] transposed, plus bias.
struct Product {
  Value x, weight, bias;
};

bool match(Value gates, Product& out) {
  const auto is = [](Value v, const OpDef& op) { return &v.node->op() == &op; };
  if (!is(gates, kReshape)) return false;
  const Value sum = gates.node->input(0);
  if (!is(sum, kAdd)) return false;
  for (const int i : {0, 1}) {
    const Value product = sum.node->input(i), bias = sum.node->input(1 - i);
    if (!is(product, kMatmul) || bias.shape().rank() != 1) continue;
    const Node& n = *product.node;
    if (n.attrs().boolean("transpose_a") || !n.attrs().boolean("transpose_b")) continue;
    if (!is(n.input(0), kReshape)) continue;
    const Value x = n.input(0).node->input(0);
    const Shape& in = x.shape();
    const Shape& steps = gates.shape();
    if (in.rank() != 3 || in[0] != steps[0] || in[1] != steps[1]) continue;
    out = {x, n.input(1), bias};
    return true;
  }
  return false;
}

}  // namespace

void skip_product(Exporter& e, const Node& scan) {
  Product product;
  const Value gates = scan.input(0);
  if (!match(gates, product) || e.uses(gates) != 1) return;
  const Value sum = gates.node->input(0);
  e.skip(*gates.node);
  if (e.uses(sum) != 1) return;
  e.skip(*sum.node);
  for (const Value v : sum.node->inputs()) {
    if (&v.node->op() != &kMatmul || e.uses(v) != 1) continue;
    e.skip(*v.node);
    if (e.uses(v.node->input(0)) == 1) e.skip(*v.node->input(0).node);
  }
}

void write_lstm(Exporter& e, const Node& node) {
  bool plain = !node.attrs().boolean("norm");
  for (std::size_t i = 4; i < node.inputs().size(); ++i) plain = plain && !node.inputs()[i];
  check(plain, "an LSTM with normalized products: ONNX's has none");
  GraphWriter& w = e.out();
  const Shape& r = node.input(1).shape();
  const std::int64_t hidden = r[1].value(), gates = 4 * hidden;
  Ints rows;  // i, f, g, o here; i, o, f, g there
  for (const std::int64_t gate : {0, 3, 1, 2})
    for (std::int64_t i = 0; i < hidden; ++i) rows.push_back(gate * hidden + i);
  Product product;
  std::string x, weight, bias;
  const std::string no_bias = w.node("Expand", {w.real(0), w.ints({gates})});
  if (match(node.input(0), product)) {
    x = e.operand(product.x);
    const Shape& shape = product.weight.shape();
    weight = e.is_leaf(product.weight) || e.codebook(product.weight)
                 ? e.weight(product.weight, false, rows, {1, gates, shape[1].value()})
                 : w.node("Reshape", {w.node("Gather", {e.operand(product.weight), w.ints(rows)}),
                                      w.ints({1, gates, shape[1].value()})});
    bias = w.node("Gather", {e.operand(product.bias), w.ints(rows)});
  } else {
    x = e.in(node, 0);
    std::vector<float> turn(static_cast<std::size_t>(gates * gates), 0);
    for (std::int64_t i = 0; i < gates; ++i)
      turn[static_cast<std::size_t>(i * gates + rows[static_cast<std::size_t>(i)])] = 1;
    weight = w.reals(w.unique("gate_order"), {1, gates, gates}, turn);
    bias = no_bias;
  }
  const std::string both = w.node("Concat", {bias, no_bias}, AttributeWriter().integer("axis", 0));
  const std::string b = w.node("Reshape", {both, w.ints({1, 2 * gates})});
  const Value recurrent = node.input(1);
  const std::string rw =
      e.is_leaf(recurrent) || e.codebook(recurrent)
          ? e.weight(recurrent, false, rows, {1, gates, hidden})
          : w.node("Reshape", {w.node("Gather", {e.operand(recurrent), w.ints(rows)}),
                               w.ints({1, gates, hidden})});
  const auto state = [&](int i) { return w.node("Unsqueeze", {e.in(node, i), w.ints({0})}); };
  const auto out = w.node("LSTM", {x, weight, rw, b, "", state(2), state(3)}, 3,
                          AttributeWriter().integer("hidden_size", hidden));
  e.set(node.output(0), w.node("Squeeze", {out[0], w.ints({1})}));
  e.set(node.output(1), w.node("Squeeze", {out[1], w.ints({0})}));
  e.set(node.output(2), w.node("Squeeze", {out[2], w.ints({0})}));
}

}  // namespace tessera::onnx
