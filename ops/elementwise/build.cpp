// Builders of the elementwise family.
#include "ops/build.h"

#include <numbers>

#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera::ops {

namespace {

template <class... Args>
Value elementwise(const OpDef& op, const Args&... args) {
  Graph* graph = nullptr;
  ((graph = graph == nullptr ? args.graph() : graph), ...);
  check(graph != nullptr, "[", op.name, "] no operand is a value");
  return graph->add(op, {args.in(*graph)...}).output();
}

}  // namespace

#define ELEMENTWISE_1(NAME, OP, X, ...) \
  Value NAME(Value X) {                 \
    return make_node(OP, {X});          \
  }
#define ELEMENTWISE_2(NAME, OP, A, B, ...) \
  Value NAME(const Arg& A, const Arg& B) { \
    return elementwise(OP, A, B);          \
  }
#define ELEMENTWISE_3(NAME, OP, A, B, C, ...)            \
  Value NAME(const Arg& A, const Arg& B, const Arg& C) { \
    return elementwise(OP, A, B, C);                     \
  }
#include "ops/elementwise/table.inc"

Value gelu(Value x) {
  return x * 0.5 * (erf(x * std::numbers::sqrt2 * 0.5) + 1.0);
}
Value silu(Value x) {
  return x * sigmoid(x);
}
Value leaky_relu(Value x, double slope) {
  return where(greater(x, 0.0), x, x * slope);
}

}  // namespace tessera::ops
