// The ops' formulas in C, for f32 and f64: NAME_formula<T>.
#pragma once

#include <cmath>

namespace {

template <class T>
T larger(T a, T b) {
  return a > b || a != a ? a : b;
}
template <class T>
T smaller(T a, T b) {
  return a < b || a != a ? a : b;
}

#define ELEMENTWISE_1(NAME, OP, X, DOC, TRAITS, PLAIN, ...) \
  template <class T>                                        \
  T NAME##_formula(T X) {                                   \
    return PLAIN;                                           \
  }
#define ELEMENTWISE_2(NAME, OP, A, B, DOC, TRAITS, PLAIN, ...) \
  template <class T>                                           \
  T NAME##_formula(T A, [[maybe_unused]] T B) {                \
    return PLAIN;                                              \
  }
#define ELEMENTWISE_3(NAME, OP, A, B, C, DOC, TRAITS, PLAIN, ...) \
  template <class T>                                              \
  T NAME##_formula(T A, T B, T C) {                               \
    return PLAIN;                                                 \
  }
#include "ops/elementwise/table.inc"

}  // namespace
