// Vector functions of the elementwise ops: plain structs between program_runner.cpp and the files
// that are compiled with wide instruction sets.
#pragma once

#include <stdint.h>

namespace tessera {

// The order of table.inc and of every ElementwiseKernels.
enum class Opcode : int {
#define ELEMENTWISE(NAME, OP) NAME,
#include "ops/elementwise/table.inc"
  count
};
inline constexpr int kOpcodes = static_cast<int>(Opcode::count);

// One instruction on a block: out[r, c] = f(in[0][r, c], ...). Row r of operand i starts at
// in[i] + r * in_ld[i]; a stride of 0 repeats one row. out may be one of the operands.
struct VectorArgs {
  int64_t rows, cols;
  const float* in[3];
  int64_t in_ld[3];
  float* out;
  int64_t out_ld;
};
using VectorFunction = void (*)(const VectorArgs&);

// A product that only a sum or difference reads is one instruction with it, and rounds once.
enum class ProductOp : int { multiply_add, multiply_subtract, subtract_multiplied, count };
inline constexpr int kProductOps = static_cast<int>(ProductOp::count);

struct ElementwiseKernels {
  const char* name;
  VectorFunction function[kOpcodes];    // null: the plain one serves
  VectorFunction product[kProductOps];  // of (a, b, c): ab + c, ab - c, c - ab
};

extern "C" const ElementwiseKernels tessera_elementwise_ref;
#if defined(__x86_64__)
extern "C" const ElementwiseKernels tessera_elementwise_avx2;
extern "C" const ElementwiseKernels tessera_elementwise_avx512;
#endif

}  // namespace tessera
