// The vector functions, for the lanes of whichever file includes this. pow, sin and cos are rare
// and stay with the plain loops.
#pragma once

#include "ops/elementwise/kernels.h"
#include "ops/vector/math-inl.h"

namespace {

using tessera::VectorArgs;

// Rows that follow each other without a gap in every operand are one long row.
inline VectorArgs joined(VectorArgs args, int arity) {
  bool dense = args.out_ld == args.cols;
  for (int i = 0; i < arity; ++i) dense = dense && args.in_ld[i] == args.cols;
  if (dense) {
    args.cols *= args.rows;
    args.rows = 1;
  }
  return args;
}

// A tail goes through the same instructions as a full vector, so an element's bits do not depend
// on where it falls. Sizes are copied first: a store could change them for all the compiler knows.
template <F (*f)(F)>
void unary(const VectorArgs& given) {
  const VectorArgs args = joined(given, 1);
  const int64_t rows = args.rows, cols = args.cols;
  for (int64_t r = 0; r < rows; ++r) {
    const float* a = args.in[0] + r * args.in_ld[0];
    float* out = args.out + r * args.out_ld;
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) store(out + c, f(load(a + c)));
    if (const int64_t n = cols - c; n > 0) store_n(out + c, f(load_n(a + c, n)), n);
  }
}

template <F (*f)(F, F)>
void binary(const VectorArgs& given) {
  const VectorArgs args = joined(given, 2);
  const int64_t rows = args.rows, cols = args.cols;
  for (int64_t r = 0; r < rows; ++r) {
    const float* a = args.in[0] + r * args.in_ld[0];
    const float* b = args.in[1] + r * args.in_ld[1];
    float* out = args.out + r * args.out_ld;
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) store(out + c, f(load(a + c), load(b + c)));
    if (const int64_t n = cols - c; n > 0) {
      store_n(out + c, f(load_n(a + c, n), load_n(b + c, n)), n);
    }
  }
}

template <F (*f)(F, F, F)>
void ternary(const VectorArgs& given) {
  const VectorArgs args = joined(given, 3);
  const int64_t rows = args.rows, cols = args.cols;
  for (int64_t r = 0; r < rows; ++r) {
    const float* a = args.in[0] + r * args.in_ld[0];
    const float* b = args.in[1] + r * args.in_ld[1];
    const float* d = args.in[2] + r * args.in_ld[2];
    float* out = args.out + r * args.out_ld;
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) {
      store(out + c, f(load(a + c), load(b + c), load(d + c)));
    }
    if (const int64_t n = cols - c; n > 0) {
      store_n(out + c, f(load_n(a + c, n), load_n(b + c, n), load_n(d + c, n)), n);
    }
  }
}

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

inline F multiply_add(F a, F b, F c) {
  return fma(a, b, c);
}
inline F multiply_subtract(F a, F b, F c) {
  return fma(a, b, negate(c));
}
inline F subtract_multiplied(F a, F b, F c) {
  return fma(negate(a), b, c);
}

constexpr tessera::ElementwiseKernels elementwise_kernels(const char* name) {
  return {name,
          {binary<add>,   binary<sub>,     binary<mul>,
           binary<div>,   binary<maximum>, binary<minimum>,
           nullptr,       binary<greater>, binary<greater_equal>,
           binary<equal>, ternary<where>,  ternary<clamp>,
           unary<negate>, unary<absolute>, unary<sqrt>,
           unary<rsqrt>,  unary<square>,   unary<exp>,
           unary<log>,    unary<tanh>,     unary<sigmoid>,
           unary<relu>,   unary<sign>,     nullptr,
           nullptr,       unary<floor>,    unary<nearest>,
           unary<erf>,    unary<softplus>, unary<copy>},
          {ternary<multiply_add>, ternary<multiply_subtract>, ternary<subtract_multiplied>}};
}

}  // namespace
