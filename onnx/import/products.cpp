// Matrix products. Initializers become weights as the layers of nn/ have them, [out, in].
#include "core/error.h"
#include "onnx/import/context.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"

namespace tessera::onnx {

Value product(Value a, Value b) {
  check(a.shape().rank() >= 1 && b.shape().rank() >= 1, "a product with a number");
  const bool row = a.shape().rank() == 1, column = b.shape().rank() == 1;
  if (row) a = ops::reshape(a, {1, a.shape()[0]});
  if (column) b = ops::reshape(b, {b.shape()[0], 1});
  const int ra = a.shape().rank(), rb = b.shape().rank();
  check(a.shape()[ra - 1] == b.shape()[rb - 2], "inner dimensions differ: ", a.shape(), " and ",
        b.shape());
  Value y;
  if (rb == 2) {
    Shape shape = a.shape();
    const Value flat = ra == 2 ? a : ops::reshape(a, {joined(shape, 0, ra - 1), shape[ra - 1]});
    shape[ra - 1] = b.shape()[1];
    y = ops::matmul(flat, b);
    if (ra != 2) y = ops::reshape(y, shape);
  } else {
    y = ops::batched_matmul(a, b);
  }
  std::vector<Dim> dims = y.shape().dims();
  if (column) dims.pop_back();
  if (row) dims.erase(dims.end() - (column ? 1 : 2));
  return row || column ? ops::reshape(y, Shape(dims)) : y;
}

namespace {

// x [..., in] times a weight [out, in] transposed.
Value through(Value x, Value weight) {
  const int rank = x.shape().rank();
  check(rank >= 2 && x.shape()[rank - 1] == weight.shape()[1],
        "inner dimensions differ: ", x.shape(), " and ", weight.shape(), " transposed");
  Shape shape = x.shape();
  const Value flat = rank == 2 ? x : ops::reshape(x, {joined(shape, 0, rank - 1), shape[rank - 1]});
  shape[rank - 1] = weight.shape()[0];
  const Value y = ops::matmul(flat, weight, false, true);
  return rank == 2 ? y : ops::reshape(y, shape);
}

bool is_matrix(const Item& item) {
  return item.shape().rank() == 2;
}

void matmul(Context& c) {
  check(c.inputs() == 2, "expected 2 operands, got ", c.inputs());
  const bool weight = is_matrix(c.in(1)) && (c.in(1).kind != Item::Kind::value ||
                                             c.in(1).value.node->op().name == "transpose");
  if (weight && c.in(0).shape().rank() >= 2)
    return c.out(0, through(c.real(0), c.weight_transposed(1)));
  c.out(0, product(c.real(0), c.real(1)));
}

void gemm(Context& c) {
  Value a = c.real(0);
  check(a.shape().rank() == 2 && is_matrix(c.in(1)), "expected matrices, got ", a.shape(), " and ",
        c.in(1).shape());
  const bool transpose_a = c.integer("transA", 0) != 0, transpose_b = c.integer("transB", 0) != 0;
  const Value b = transpose_b ? c.weight(1) : c.weight_transposed(1);
  const double alpha = c.number("alpha", 1), beta = c.number("beta", 1);
  Value y = ops::matmul(a, b, transpose_a, true);
  if (alpha != 1) y = y * alpha;
  if (c.has(2)) {
    const Value bias = c.weight(2);
    check(broadcasts_to(bias.shape(), y.shape()), "a bias ", bias.shape(), " of a result ",
          y.shape());
    y = y + (beta == 1 ? bias : bias * beta);
  }
  c.out(0, y);
}

constexpr OpRow kRows[] = {{"MatMul", matmul}, {"Gemm", gemm}};

}  // namespace

std::span<const OpRow> product_rows() {
  return kRows;
}

}  // namespace tessera::onnx
