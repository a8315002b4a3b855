// What is one operator in ONNX and several nodes here: a bias, a mean, batch normalization.
#include "core/error.h"
#include "onnx/export/exporter.h"
#include "ops/conv/conv.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "ops/recurrent/lstm.h"

namespace tessera::onnx {

namespace {

bool is(Value value, const OpDef& op) {
  return value && &value.node->op() == &op;
}
Value operand(Value value, int i) {
  return value.node->input(i);
}

// try_order(a, b) for both orders of the operands of a commutative node.
template <class Try>
bool either(Value value, Try try_order) {
  const Value a = operand(value, 0), b = operand(value, 1);
  return try_order(a, b) || try_order(b, a);
}

// The nodes of x * s + (beta - mean * s), s = gamma / sqrt(variance + epsilon), as ops::batch_norm
// makes them.
struct BatchNorm {
  Value x, gamma, beta, mean, variance;
  double epsilon = 0;
  Value product, scale_shape, shift_shape, scale, shift, mean_product, inverse, sum;
};

bool match_scale(Value scale, BatchNorm& out) {
  return is(scale, kMul) && either(scale, [&](Value gamma, Value inverse) {
           if (!is(inverse, kRsqrt) || !is(operand(inverse, 0), kAdd)) return false;
           const Value sum = operand(inverse, 0);
           return either(sum, [&](Value variance, Value epsilon) {
             const auto value = constant_value(epsilon);
             if (!value || variance.shape().rank() != 1 || gamma.shape() != variance.shape())
               return false;
             out.gamma = gamma;
             out.variance = variance;
             out.epsilon = *value;
             out.inverse = inverse;
             out.sum = sum;
             return true;
           });
         });
}

bool match(Value y, BatchNorm& out) {
  return is(y, kAdd) && either(y, [&](Value product, Value shift_shape) {
           if (!is(product, kMul) || !is(shift_shape, kReshape)) return false;
           const Value shift = operand(shift_shape, 0);
           if (!is(shift, kSub) || !is(operand(shift, 1), kMul)) return false;
           const Value mean_product = operand(shift, 1);
           return either(product, [&](Value x, Value scale_shape) {
             if (!is(scale_shape, kReshape)) return false;
             const Value scale = operand(scale_shape, 0);
             if (!match_scale(scale, out)) return false;
             return either(mean_product, [&](Value mean, Value same) {
               if (!(same == scale) || mean.shape() != scale.shape()) return false;
               if (y.shape() != x.shape() || x.shape().rank() < 2 ||
                   Shape{x.shape()[1]} != mean.shape())
                 return false;
               out.x = x;
               out.beta = operand(shift, 0);
               out.mean = mean;
               out.product = product;
               out.scale_shape = scale_shape;
               out.shift_shape = shift_shape;
               out.scale = scale;
               out.shift = shift;
               out.mean_product = mean_product;
               return true;
             });
           });
         });
}

// A number per channel before y, or a row before the product: what a layer's bias looks like.
struct Biased {
  Value product, bias, bias_shape;
};

bool match(Exporter& e, Value y, Biased& out) {
  return is(y, kAdd) && either(y, [&](Value product, Value bias) {
           if (e.uses(product) != 1 || product.shape() != y.shape()) return false;
           if (is(product, kMatmul) && e.codebook(operand(product, 1)) == nullptr) {
             if (!e.is_leaf(bias) || bias.shape() != Shape{y.shape()[1]}) return false;
             out = {product, bias, {}};
             return true;
           }
           if (!is(product, kConv2d) || !is(bias, kReshape)) return false;
           const Value own = operand(bias, 0);
           if (!e.is_leaf(own) || own.shape() != Shape{y.shape()[1]}) return false;
           const Shape& spread = bias.shape();
           if (spread.rank() < 3 || spread[spread.rank() - 3] != y.shape()[1]) return false;
           out = {product, own, bias};
           return true;
         });
}

bool is_mean(Value y) {
  return is(y, kDiv) && is(operand(y, 0), kSum) && is(operand(y, 1), kCount) &&
         operand(operand(y, 0), 0) == operand(operand(y, 1), 0) &&
         operand(y, 0).node->attrs().integers("axes") ==
             operand(y, 1).node->attrs().integers("axes");
}

// Skips a node that only these readers have.
bool skip(Exporter& e, Value value, int readers) {
  if (e.uses(value) != readers) return false;
  e.skip(*value.node);
  return true;
}

}  // namespace

bool is_joint(Exporter& e, const Node& node) {
  const Value y = node.output();
  BatchNorm norm;
  Biased biased;
  if (&node.op() == &kLstmScan) {
    skip_product(e, node);
    return true;
  }
  if (is_mean(y)) {
    skip(e, operand(y, 0), 1);
    skip(e, operand(y, 1), 1);
    return true;
  }
  if (match(y, norm)) {
    skip(e, norm.product, 1);
    const bool scaled = skip(e, norm.scale_shape, 1);
    const bool shifted =
        skip(e, norm.shift_shape, 1) && skip(e, norm.shift, 1) && skip(e, norm.mean_product, 1);
    if (scaled && shifted && skip(e, norm.scale, 2) && skip(e, norm.inverse, 1))
      skip(e, norm.sum, 1);
    return true;
  }
  if (match(e, y, biased)) {
    e.skip(*biased.product.node);
    if (biased.bias_shape) skip(e, biased.bias_shape, 1);
    return true;
  }
  return false;
}

void write_joint(Exporter& e, const Node& node) {
  const Value y = node.output();
  BatchNorm norm;
  Biased biased;
  GraphWriter& w = e.out();
  if (&node.op() == &kLstmScan) return write_lstm(e, node);
  if (is_mean(y)) {
    const Node& sum = *operand(y, 0).node;
    const Ints& axes = sum.attrs().integers("axes");
    const bool keep = sum.attrs().boolean("keep");
    if (keep && axes == Ints{2, 3} && y.shape().rank() == 4)
      return e.set(y, w.node("GlobalAveragePool", {e.in(sum, 0)}));
    AttributeWriter a = AttributeWriter().integer("keepdims", keep);
    return e.set(y, w.opset() >= 18 ? w.node("ReduceMean", {e.in(sum, 0), w.ints(axes)}, a)
                                    : w.node("ReduceMean", {e.in(sum, 0)}, a.list("axes", axes)));
  }
  if (match(y, norm)) {
    return e.set(y, w.node("BatchNormalization",
                           {e.operand(norm.x), e.operand(norm.gamma), e.operand(norm.beta),
                            e.operand(norm.mean), e.operand(norm.variance)},
                           AttributeWriter().real("epsilon", norm.epsilon)));
  }
  const bool found = match(e, y, biased);
  TESSERA_ASSERT(found);
  const Node& product = *biased.product.node;
  const std::vector<std::string> inputs = {e.in(product, 0), e.in(product, 1),
                                           e.operand(biased.bias)};
  if (&product.op() == &kConv2d) return e.set(y, w.node("Conv", inputs, conv_attributes(product)));
  e.set(y, w.node("Gemm", inputs,
                  AttributeWriter()
                      .integer("transA", product.attrs().boolean("transpose_a"))
                      .integer("transB", product.attrs().boolean("transpose_b"))));
}

}  // namespace tessera::onnx
