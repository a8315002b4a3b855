// C as text: literals, arrays, loops over strided operands, elementwise formulas.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/op_def.h"
#include "core/tensor.h"

namespace tessera {

// The C type of elements; none for bf16, which C has no name for.
std::optional<std::string_view> c_type(DType dtype);

// Exact: reading it gives the same bits (but of NaN, which is NAN).
std::string c_literal(float value);

// "static const float NAME[3] = {...};", lines of 100 columns. All zeros are {0}.
std::string c_array(std::string_view name, const Tensor& values);

// Loops over `dims`, the operands lying in it by their strides (0: broadcast). Axes that all
// operands walk through as one are one loop.
class LoopNest {
 public:
  LoopNest(const std::vector<std::int64_t>& dims,
           const std::vector<std::vector<std::int64_t>>& strides);
  // "i0 * 12 + i1", the place of operand `i` in the innermost loop; "0" where it does not move.
  std::string offset(std::size_t i) const;
  std::string open(int indent) const;  // the lines of the loops
  std::string close(int indent) const;
  int depth() const { return static_cast<int>(dims_.size()); }

 private:
  std::vector<std::int64_t> dims_;
  std::vector<std::vector<std::int64_t>> strides_;
};

// The function that an elementwise op is in C, "static float tessera_tanh(float x) ...", and its
// name; none for ops of users, which have no formula. The formulas are those of the plain kernel
// (ops/elementwise/table.inc).
struct CFormula {
  std::string name, text;
};
std::optional<CFormula> c_formula(const OpDef& op);

}  // namespace tessera
