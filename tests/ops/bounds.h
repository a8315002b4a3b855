// How far an f32 kernel may be from the f64 reference on the op's own samples:
// |got - want| <= absolute + relative * |want|.
#pragma once

#include <string_view>

namespace tessera::test {

struct Bound {
  std::string_view op;
  double absolute, relative;
};

// Ops that are not listed round once or only move values.
inline constexpr Bound kDefaultBound = {"", 1e-9, 1.5e-7};

// Operands rounded to bytes, some weights as large as 128; int8_matmul_test.cpp checks the
// integers.
inline constexpr Bound kInt8Bound = {"", 1.0, 0.01};

// Operands in [-1, 1] rounded to bf16: each product is off by up to 2^-8, sums of a few hundred.
inline constexpr Bound kBf16Bound = {"", 0.08, 0.01};

inline constexpr Bound kBounds[] = {
    {"rsqrt", 1e-9, 3e-7},
    {"pow", 1e-9, 3e-7},
    {"exp", 1e-9, 3e-7},
    {"log", 3e-7, 3e-7},
    {"tanh", 1e-9, 3e-7},
    {"sigmoid", 1e-9, 3e-7},
    {"sin", 1e-7, 3e-7},
    {"cos", 1e-7, 3e-7},
    {"erf", 1e-9, 3e-7},
    {"softplus", 1e-9, 5e-7},
    {"fused", 2e-6, 2e-6},
    // n terms in [-1, 1]: an error of about sqrt(n) rounding errors of the partial sums.
    {"sum", 2e-4, 1e-6},
    {"sum_to", 2e-4, 1e-6},
    {"softmax", 1e-9, 2e-6},
    {"log_softmax", 2e-6, 5e-7},
    {"cross_entropy", 2e-6, 1e-6},
    {"cross_entropy_grad", 5e-7, 2e-6},
    {"matmul", 2e-5, 2e-5},
    {"batched_matmul", 2e-5, 2e-5},
    // Sums of up to 500 products of values in [-1, 1]; Winograd multiplies some by 8 and takes them
    // back.
    {"sparse_matmul", 2e-5, 2e-5},
    {"sparse_conv2d", 2e-5, 2e-5},
    {"conv2d", 4e-4, 5e-5},
    {"conv2d_grad_input", 2e-4, 2e-5},
    {"conv2d_grad_weight", 2e-4, 2e-5},
    {"avg_pool2d", 1e-6, 1e-6},
    {"avg_pool2d_grad", 1e-6, 1e-6},
    {"upsample2d", 1e-6, 1e-6},
    {"upsample2d_grad", 2e-6, 1e-6},
    {"channel_stats", 1e-6, 1e-6},
    {"channel_products", 5e-5, 1e-6},
    {"codebook_entries_grad", 2e-4, 2e-5},
    {"codebook_scale_grad", 2e-4, 2e-5},
    {"embedding_grad", 1e-5, 1e-6},
    // Sums of 40 products, and what steps make of their errors; a deviation may be small.
    {"lstm_scan", 2e-5, 1e-5},
    {"lstm_scan_grad", 2e-5, 2e-5},
    // Exponents of up to 4 / tau = 200; sums of thousands of vectors.
    {"soft_assign", 1e-5, 1e-5},
    {"soft_assign_grad", 1e-3, 2e-5},
};

// Outputs that count as constants in gradients although they depend on differentiable inputs.
constexpr bool is_detached(std::string_view op, int output) {
  return (op == "nearest" && output == 1) || (op == "lstm_scan" && output >= 3);
}

constexpr Bound bound_of(std::string_view op) {
  for (const Bound& bound : kBounds) {
    if (bound.op == op) return bound;
  }
  return kDefaultBound;
}

}  // namespace tessera::test
