// Elementary functions on the lanes of lanes_<isa>-inl.h, which is included before this file.
//
// Largest errors, measured against f64 over the whole range (tests/ops/elementwise_test.cpp):
// exp, log, tanh, sigmoid, erf: 2e-7 relative (log: of max(|log x|, 1)); softplus: 3e-7 relative.
// NaN gives NaN; functions saturate, overflow to infinity and underflow through the subnormals
// like the real ones. A lane's result depends on nothing but the lane's input.
#pragma once

namespace {

inline F absolute(F x) {
  return floats(and_bits(bits(x), set_bits(0x7fffffff)));
}
inline F with_sign(F magnitude, F sign) {
  return floats(or_bits(bits(magnitude), and_bits(bits(sign), set_bits(INT32_MIN))));
}
inline F negate(F x) {
  return sub(set(-0.0f), x);
}

// e^x = 2^n e^r with |r| <= ln(2) / 2; polynomial of Cephes expf (S. Moshier).
inline F exp(F x) {
  x = raw_min(set(90.0f), raw_max(set(-110.0f), x));
  const F n = nearest(mul(x, set(1.44269504088896341f)));
  F r = fma(n, set(-0.693359375f), x);
  r = fma(n, set(2.12194440e-4f), r);
  F p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = add(fma(p, mul(r, r), r), set(1.0f));
  return scale_by_power(p, n);
}

// x = 2^e m with m in [sqrt(1/2), sqrt(2)); polynomial of Cephes logf.
inline F log(F x) {
  const M tiny = less(x, set(0x1p-126f));
  const F scaled = select(tiny, mul(x, set(0x1p25f)), x);
  const I ix = sub_bits(bits(scaled), set_bits(0x3f3504f3));
  const I whole = shift_right<23>(ix);
  const F m = floats(sub_bits(bits(scaled), shift_left<23>(whole)));
  const F e = sub(to_float(whole), select(tiny, set(25.0f), set(0.0f)));
  const F f = sub(m, set(1.0f)), z = mul(f, f);
  F p = set(7.0376836292e-2f);
  p = fma(p, f, set(-1.1514610310e-1f));
  p = fma(p, f, set(1.1676998740e-1f));
  p = fma(p, f, set(-1.2420140846e-1f));
  p = fma(p, f, set(1.4249322787e-1f));
  p = fma(p, f, set(-1.6668057665e-1f));
  p = fma(p, f, set(2.0000714765e-1f));
  p = fma(p, f, set(-2.4999993993e-1f));
  p = fma(p, f, set(3.3333331174e-1f));
  F y = mul(mul(p, f), z);
  y = fma(e, set(-2.12194440e-4f), y);
  y = fma(z, set(-0.5f), y);
  F out = fma(e, set(0.693359375f), add(f, y));
  out = select(same(x, set(0.0f)), set(-__builtin_inff()), out);
  out = select(less(x, set(0.0f)), set(__builtin_nanf("")), out);
  out = select(same(x, set(__builtin_inff())), x, out);
  return select(is_nan(x), x, out);
}

// Odd polynomial near 0 (Cephes tanhf), 1 - 2 / (e^2x + 1) elsewhere.
inline F tanh(F x) {
  const F t = absolute(x), z = mul(x, x);
  F p = set(-5.70498872745e-3f);
  p = fma(p, z, set(2.06390887954e-2f));
  p = fma(p, z, set(-5.37397155531e-2f));
  p = fma(p, z, set(1.33314422036e-1f));
  p = fma(p, z, set(-3.33332819422e-1f));
  const F small = fma(mul(p, z), x, x);
  const F large = sub(set(1.0f), div(set(2.0f), add(exp(add(t, t)), set(1.0f))));
  return select(less(t, set(0.625f)), small, with_sign(large, x));
}

inline F sigmoid(F x) {
  return div(set(1.0f), add(set(1.0f), exp(negate(x))));
}

// Polynomials of N. Juffa's erff: odd near 0, 1 - e^p(|x|) elsewhere.
inline F erf(F x) {
  const F t = raw_min(set(4.0f), absolute(x)), s = mul(t, t);
  F r = fma(set(-1.72853470e-5f), t, set(3.83197126e-4f));
  const F u = fma(set(-3.88396438e-3f), t, set(2.42546219e-2f));
  r = fma(r, s, u);
  r = fma(r, t, set(-1.06777877e-1f));
  r = fma(r, t, set(-6.34846687e-1f));
  r = fma(r, t, set(-1.28717512e-1f));
  r = fma(r, t, negate(t));
  const F large = with_sign(sub(set(1.0f), exp(r)), x);
  F p = set(-5.96761703e-4f);
  p = fma(p, s, set(4.99119423e-3f));
  p = fma(p, s, set(-2.67681349e-2f));
  p = fma(p, s, set(1.12819925e-1f));
  p = fma(p, s, set(-3.76125336e-1f));
  p = fma(p, s, set(1.28379166e-1f));
  return select(less(set(0.927734375f), t), large, fma(p, x, x));
}

// max(x, 0) + log(1 + e^-|x|); the second term corrects the rounding of 1 + e.
inline F softplus(F x) {
  const F e = exp(negate(absolute(x)));
  const F u = add(set(1.0f), e);
  const F lost = sub(e, sub(u, set(1.0f)));
  return add(raw_max(set(0.0f), x), add(log(u), div(lost, u)));
}

}  // namespace
