// The vector functions, for the lanes of whichever file includes this.
#pragma once

#include "ops/elementwise/functions-inl.h"
#include "ops/elementwise/kernels.h"

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

struct Loops {
  using Function = tessera::VectorFunction;
  template <F (*f)(F)>
  static constexpr Function one = unary<f>;
  template <F (*f)(F, F)>
  static constexpr Function two = binary<f>;
  template <F (*f)(F, F, F)>
  static constexpr Function three = ternary<f>;
};

constexpr tessera::ElementwiseKernels elementwise_kernels(const char* name) {
  constexpr FunctionTable<Loops> table = function_table<Loops>();
  tessera::ElementwiseKernels out{name, {}, {}};
  for (int i = 0; i < tessera::kOpcodes; ++i) out.function[i] = table.function[i];
  for (int i = 0; i < tessera::kProductOps; ++i) out.product[i] = table.product[i];
  return out;
}

}  // namespace
