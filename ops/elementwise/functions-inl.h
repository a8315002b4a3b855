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
inline F greater(F a, F b) {
  return truth(less(b, a));
}
inline F greater_equal(F a, F b) {
  return truth(less_equal(b, a));
}
inline F equal(F a, F b) {
  return truth(same(a, b));
}
inline F where(F c, F a, F b) {
  return select(same(c, set(0.0f)), b, a);
}
inline F clamp(F x, F low, F high) {
  return minimum(maximum(x, low), high);
}
inline F rsqrt(F x) {
  return div(set(1.0f), sqrt(x));
}
inline F square(F x) {
  return mul(x, x);
}
inline F relu(F x) {
  return raw_max(set(0.0f), x);
}
inline F sign(F x) {
  const F one = with_sign(set(1.0f), x);
  return select(is_nan(x), x, select(same(x, set(0.0f)), set(0.0f), one));
}
inline F copy(F x) {
  return x;
}
inline F first(F a, F) {
  return a;
}

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

template <class W>
constexpr FunctionTable<W> function_table() {
  return {{W::template two<add>,
           W::template two<sub>,
           W::template two<mul>,
           W::template two<div>,
           W::template two<maximum>,
           W::template two<minimum>,
           nullptr,
           W::template two<greater>,
           W::template two<greater_equal>,
           W::template two<equal>,
           W::template three<where>,
           W::template three<clamp>,
           W::template one<negate>,
           W::template one<absolute>,
           W::template one<sqrt>,
           W::template one<rsqrt>,
           W::template one<square>,
           W::template one<exp>,
           W::template one<log>,
           W::template one<tanh>,
           W::template one<sigmoid>,
           W::template one<relu>,
           W::template one<sign>,
           nullptr,
           nullptr,
           W::template one<floor>,
           W::template one<nearest>,
           W::template one<erf>,
           W::template one<softplus>,
           W::template one<copy>,
           W::template two<first>},
          {W::template three<multiply_add>, W::template three<multiply_subtract>,
           W::template three<subtract_multiplied>}};
}

}  // namespace
