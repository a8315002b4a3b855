// Elementwise vector functions, plain C on any processor: the definition the others are tested
// against in f32.
#include <math.h>

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

float add(float a, float b) {
  return a + b;
}
float sub(float a, float b) {
  return a - b;
}
float mul(float a, float b) {
  return a * b;
}
float div(float a, float b) {
  return a / b;
}
float maximum(float a, float b) {
  return a > b || a != a ? a : b;
}
float minimum(float a, float b) {
  return a < b || a != a ? a : b;
}
float greater(float a, float b) {
  return a > b ? 1.0f : 0.0f;
}
float greater_equal(float a, float b) {
  return a >= b ? 1.0f : 0.0f;
}
float equal(float a, float b) {
  return a == b ? 1.0f : 0.0f;
}
float where(float c, float a, float b) {
  return c != 0 ? a : b;
}
float clamp(float x, float low, float high) {
  return minimum(maximum(x, low), high);
}
float negate(float x) {
  return -x;
}
float rsqrt(float x) {
  return 1 / sqrtf(x);
}
float square(float x) {
  return x * x;
}
float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}
float relu(float x) {
  return x < 0 ? 0.0f : x;
}
float sign(float x) {
  return x > 0 ? 1.0f : x < 0 ? -1.0f : x;
}
float softplus(float x) {
  return (x < 0 ? 0 : x) + log1pf(expf(-fabsf(x)));
}
float copy(float x) {
  return x;
}
float first(float a, float) {
  return a;
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
    {binary<add>,     binary<sub>,       binary<mul>,     binary<div>,           binary<maximum>,
     binary<minimum>, binary<powf>,      binary<greater>, binary<greater_equal>, binary<equal>,
     ternary<where>,  ternary<clamp>,    unary<negate>,   unary<fabsf>,          unary<sqrtf>,
     unary<rsqrt>,    unary<square>,     unary<expf>,     unary<logf>,           unary<tanhf>,
     unary<sigmoid>,  unary<relu>,       unary<sign>,     unary<sinf>,           unary<cosf>,
     unary<floorf>,   unary<nearbyintf>, unary<erff>,     unary<softplus>,       unary<copy>,
     binary<first>},
    {ternary<multiply_add>, ternary<multiply_subtract>, ternary<subtract_multiplied>}};

}  // namespace tessera
