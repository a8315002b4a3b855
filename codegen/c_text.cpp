#include "codegen/c_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <regex>

#include "ops/op_list.h"

namespace tessera {

std::optional<std::string_view> c_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "float";
    case DType::s8:
      return "int8_t";
    case DType::u8:
      return "uint8_t";
    case DType::s32:
      return "int32_t";
    case DType::s64:
      return "int64_t";
    case DType::bf16:
      return std::nullopt;
  }
  return std::nullopt;
}

std::string c_literal(float value) {
  if (std::isnan(value)) return "NAN";
  if (std::isinf(value)) return value > 0 ? "INFINITY" : "-INFINITY";
  char text[32];
  const auto end = std::to_chars(std::begin(text), std::end(text), value).ptr;
  std::string out(text, end);
  if (out.find_first_of(".e") == std::string::npos) out += ".";
  return out + "f";
}

std::string c_array(std::string_view name, const Tensor& values) {
  const std::int64_t n = values.numel();
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  std::string out = cat("static const ", *c_type(values.dtype()), " ", name, "[",
                        std::max<std::int64_t>(n, 1), "] = {");
  if (std::all_of(bytes, bytes + values.bytes(), [](unsigned char b) { return b == 0; }))
    return out + "0};\n";
  const auto number = [&](std::int64_t i) -> std::string {
    if (values.dtype() == DType::f32)
      return c_literal(values.span<float>()[static_cast<std::size_t>(i)]);
    return std::to_string(static_cast<std::int64_t>(element(values, i)));
  };
  constexpr std::size_t kColumns = 100;
  std::size_t column = kColumns;  // the first number begins a line
  for (std::int64_t i = 0; i < n; ++i) {
    const std::string text = number(i);
    if (column + text.size() + 1 > kColumns) {
      out += "\n  ";
      column = 2;
    }
    out += text;
    if (i + 1 < n) out += ",";
    column += text.size() + 1;
  }
  return out + "};\n";
}

LoopNest::LoopNest(const std::vector<std::int64_t>& dims,
                   const std::vector<std::vector<std::int64_t>>& strides)
    : strides_(strides.size()) {
  for (std::size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 1) continue;
    const bool merges = !dims_.empty() && std::ranges::all_of(strides, [&](const auto& s) {
      return strides_[static_cast<std::size_t>(&s - strides.data())].back() == s[d] * dims[d];
    });
    if (merges) {
      dims_.back() *= dims[d];
      for (std::size_t i = 0; i < strides.size(); ++i) strides_[i].back() = strides[i][d];
      continue;
    }
    dims_.push_back(dims[d]);
    for (std::size_t i = 0; i < strides.size(); ++i) strides_[i].push_back(strides[i][d]);
  }
}

std::string LoopNest::offset(std::size_t i) const {
  std::string out;
  for (std::size_t d = 0; d < dims_.size(); ++d) {
    const std::int64_t stride = strides_[i][d];
    if (stride == 0) continue;
    out += cat(out.empty() ? "" : " + ", "i", d);
    if (stride != 1) out += cat(" * ", stride);
  }
  return out.empty() ? "0" : out;
}

std::string LoopNest::open(int indent) const {
  std::string out;
  for (std::size_t d = 0; d < dims_.size(); ++d) {
    out += cat(std::string(static_cast<std::size_t>(indent) + 2 * d, ' '), "for (long i", d,
               " = 0; i", d, " < ", dims_[d], "; ++i", d, ") {\n");
  }
  if (dims_.empty()) out += std::string(static_cast<std::size_t>(indent), ' ') + "{\n";
  return out;
}

std::string LoopNest::close(int indent) const {
  std::string out;
  for (std::size_t d = std::max<std::size_t>(dims_.size(), 1); d-- > 0;)
    out += std::string(static_cast<std::size_t>(indent) + 2 * d, ' ') + "}\n";
  return out;
}

namespace {

// "std::tanh(x)" -> "tanhf(x)", "T(0)" -> "(float)(0)".
std::string in_c(const std::string& formula) {
  static const std::regex function("std::([a-z0-9]+)\\("), type("\\bT\\("),
      own("\\b(larger|smaller)\\(");
  std::string out = std::regex_replace(formula, function, "$1f(");
  out = std::regex_replace(out, type, "(float)(");
  return std::regex_replace(out, own, "tessera_$1(");
}

CFormula formula(std::string_view name, std::initializer_list<std::string_view> operands,
                 std::string_view plain) {
  CFormula out{cat("tessera_", name), {}};
  std::string list;
  for (const auto operand : operands) list += cat(list.empty() ? "" : ", ", "float ", operand);
  const std::string body = in_c(std::string(plain));
  std::string unused;
  for (const auto operand : operands) {
    if (!std::regex_search(body, std::regex(cat("\\b", operand, "\\b"))))
      unused += cat("(void)", operand, "; ");
  }
  out.text = cat("static float ", out.name, "(", list, ") { ", unused, "return ", body, "; }\n");
  return out;
}

std::map<const OpDef*, CFormula> make_formulas() {
  std::map<const OpDef*, CFormula> out;
#define ELEMENTWISE_1(NAME, OP, X, DOC, TRAITS, PLAIN, ...) out[&OP] = formula(#NAME, {#X}, #PLAIN);
#define ELEMENTWISE_2(NAME, OP, A, B, DOC, TRAITS, PLAIN, ...) \
  out[&OP] = formula(#NAME, {#A, #B}, #PLAIN);
#define ELEMENTWISE_3(NAME, OP, A, B, C, DOC, TRAITS, PLAIN, ...) \
  out[&OP] = formula(#NAME, {#A, #B, #C}, #PLAIN);
#include "ops/elementwise/table.inc"
  return out;
}

}  // namespace

std::optional<CFormula> c_formula(const OpDef& op) {
  static const std::map<const OpDef*, CFormula> formulas = make_formulas();
  const auto found = formulas.find(&op);
  if (found == formulas.end()) return std::nullopt;
  return found->second;
}

}  // namespace tessera
