// What each elementwise op does to lanes of whichever kind the including file defines (F, M and
// their operations, as ops/vector/lanes_avx512-inl.h). pow, sin and cos are rare and stay with the
// plain loops.
#pragma once

#include "ops/elementwise/kernels.h"
#include "ops/vector/math-inl.h"

namespace {

inline F maximum(F a, F b) {
  return select(is_nan(a), a, raw_max(a, b));
}
inline F minimum(F a, F b) {
  return select(is_nan(a), a, raw_min(a, b));
}
inline F truth(M m) {
  return select(m, set(1.0f), set(0.0f));
}

// The ops' functions, and what stands for one where there is none for these lanes.
struct None {};
constexpr None none;
#define ELEMENTWISE_1(NAME, OP, X, DOC, TRAITS, PLAIN, LANES, ...) \
  [[maybe_unused]] inline auto NAME##_op([[maybe_unused]] F X) {   \
    return LANES;                                                  \
  }
#define ELEMENTWISE_2(NAME, OP, A, B, DOC, TRAITS, PLAIN, LANES, ...)                  \
  [[maybe_unused]] inline auto NAME##_op([[maybe_unused]] F A, [[maybe_unused]] F B) { \
    return LANES;                                                                      \
  }
#define ELEMENTWISE_3(NAME, OP, A, B, C, DOC, TRAITS, PLAIN, LANES, ...) \
  inline auto NAME##_op(F A, F B, F C) {                                 \
    return LANES;                                                        \
  }
#include "ops/elementwise/table.inc"

inline F multiply_add(F a, F b, F c) {
  return fma(a, b, c);
}
inline F multiply_subtract(F a, F b, F c) {
  return fma(a, b, negate(c));
}
inline F subtract_multiplied(F a, F b, F c) {
  return fma(negate(a), b, c);
}

// Functions by Opcode and ProductOp; null: there is none for these lanes. `Wrap` turns a function
// of one, two or three operands into what the user calls.
template <class Wrap>
struct FunctionTable {
  typename Wrap::Function function[tessera::kOpcodes];
  typename Wrap::Function product[tessera::kProductOps];
};

template <class W, F (*f)(F)>
constexpr typename W::Function wrapped() {
  return W::template one<f>;
}
template <class W, F (*f)(F, F)>
constexpr typename W::Function wrapped() {
  return W::template two<f>;
}
template <class W, F (*f)(F, F, F)>
constexpr typename W::Function wrapped() {
  return W::template three<f>;
}
template <class W, None (*f)(F)>
constexpr typename W::Function wrapped() {
  return nullptr;
}
template <class W, None (*f)(F, F)>
constexpr typename W::Function wrapped() {
  return nullptr;
}

template <class W>
constexpr FunctionTable<W> function_table() {
  return {{
#define ELEMENTWISE(NAME, OP) wrapped<W, NAME##_op>(),
#include "ops/elementwise/table.inc"
          },
          {W::template three<multiply_add>, W::template three<multiply_subtract>,
           W::template three<subtract_multiplied>}};
}

}  // namespace
