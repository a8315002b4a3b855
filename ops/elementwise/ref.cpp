// Elementwise vector functions, plain C on any processor: the definition the others are tested
// against in f32.
#include "ops/elementwise/formulas-inl.h"
#include "ops/elementwise/kernels.h"

namespace tessera {
namespace {

template <float (*f)(float)>
void unary(const VectorArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* a = args.in[0] + r * args.in_ld[0];
    float* out = args.out + r * args.out_ld;
    for (int64_t c = 0; c < args.cols; ++c) out[c] = f(a[c]);
  }
}

template <float (*f)(float, float)>
void binary(const VectorArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* a = args.in[0] + r * args.in_ld[0];
    const float* b = args.in[1] + r * args.in_ld[1];
    float* out = args.out + r * args.out_ld;
    for (int64_t c = 0; c < args.cols; ++c) out[c] = f(a[c], b[c]);
  }
}

template <float (*f)(float, float, float)>
void ternary(const VectorArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* a = args.in[0] + r * args.in_ld[0];
    const float* b = args.in[1] + r * args.in_ld[1];
    const float* d = args.in[2] + r * args.in_ld[2];
    float* out = args.out + r * args.out_ld;
    for (int64_t c = 0; c < args.cols; ++c) out[c] = f(a[c], b[c], d[c]);
  }
}

float multiply_add(float a, float b, float c) {
  return a * b + c;
}
float multiply_subtract(float a, float b, float c) {
  return a * b - c;
}
float subtract_multiplied(float a, float b, float c) {
  return c - a * b;
}

}  // namespace

extern "C" const ElementwiseKernels tessera_elementwise_ref = {
    "ref",
    {
#define ELEMENTWISE_1(NAME, ...) unary<NAME##_formula<float>>,
#define ELEMENTWISE_2(NAME, ...) binary<NAME##_formula<float>>,
#define ELEMENTWISE_3(NAME, ...) ternary<NAME##_formula<float>>,
#include "ops/elementwise/table.inc"
    },
    {ternary<multiply_add>, ternary<multiply_subtract>, ternary<subtract_multiplied>}};

}  // namespace tessera
