// What is asked of a codebook weight besides products, answered from its storage.
#include "ops/rules.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

// Sums of the squares of rows, which weight normalization divides by: the squares of a codebook's
// weights are a codebook of squared entries and scales, and row sums a product with ones.
Value squares_of_rows(const Match& m) {
  const Value weight = m[0];
  const auto* format = weight.type().encoding.codebook_format();
  if (!format || weight.shape().rank() != 2 || weight.node->op().name != kCodebook.name) return {};
  const auto axes = normalize_axes("sum", m.root->attrs().integers("axes"), weight.shape());
  const auto planes = weight.node->inputs();
  const bool scaled = planes.size() > 2 && planes[2];
  if (axes.size() != 1 || axes[0] != 1 || planes[1].type().dtype != DType::f32) return {};
  const Value squares =
      ops::codebook(planes[0], ops::square(planes[1]), scaled ? ops::square(planes[2]) : Value(),
                    *format, weight.shape());
  const Value ones = m.root->graph().constant(1.0, f32({Dim(1), weight.shape()[1]}));
  return ops::reshape(ops::matmul(ones, squares, false, true), m.root->types()[0].shape);
}

}  // namespace

std::vector<Rule> codebook_rules() {
  return {{"squares of a codebook's rows", {&kSum, {{&kSquare, {Pat::any(0)}}}}, squares_of_rows}};
}

}  // namespace tessera
