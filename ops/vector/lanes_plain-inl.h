// One float as if it were a vector, so that a family's vector code is its plain code, too. Included
// by ref.cpp kernel files only; no <math.h> beside it, whose exp and log would be in the way.
#pragma once

#include <stdint.h>
#include <string.h>

namespace {

struct F {
  float v;
};
using I = int32_t;
using M = bool;
constexpr int64_t kLanes = 1;

inline F load(const float* p) {
  return {*p};
}
inline void store(float* p, F v) {
  *p = v.v;
}
// There is no part of one lane.
inline F load_n(const float* p, int64_t) {
  return {*p};
}
inline void store_n(float* p, F v, int64_t) {
  *p = v.v;
}
inline F keep_n(F v, int64_t, F) {
  return v;
}

inline F set(float v) {
  return {v};
}
inline F add(F a, F b) {
  return {a.v + b.v};
}
inline F sub(F a, F b) {
  return {a.v - b.v};
}
inline F mul(F a, F b) {
  return {a.v * b.v};
}
inline F div(F a, F b) {
  return {a.v / b.v};
}
inline F fma(F a, F b, F c) {
  return {a.v * b.v + c.v};  // rounds twice: fmaf is slow where there is no instruction for it
}
inline F sqrt(F a) {
  return {__builtin_sqrtf(a.v)};
}
// As the instruction: b when either is NaN.
inline F raw_max(F a, F b) {
  return a.v > b.v ? a : b;
}
inline F raw_min(F a, F b) {
  return a.v < b.v ? a : b;
}
// For |a| < 2^22.
inline F nearest(F a) {
  return {(a.v + 0x1.8p23f) - 0x1.8p23f};
}

inline M less(F a, F b) {
  return a.v < b.v;
}
inline M same(F a, F b) {
  return a.v == b.v;
}
inline M is_nan(F a) {
  return a.v != a.v;
}
inline F select(M m, F yes, F no) {
  return m ? yes : no;
}

inline I bits(F a) {
  I out;
  memcpy(&out, &a, sizeof out);
  return out;
}
inline F floats(I a) {
  F out;
  memcpy(&out, &a, sizeof out);
  return out;
}
inline I set_bits(int32_t v) {
  return v;
}
inline I add_bits(I a, I b) {
  return static_cast<I>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}
inline I sub_bits(I a, I b) {
  return static_cast<I>(static_cast<uint32_t>(a) - static_cast<uint32_t>(b));
}
inline I and_bits(I a, I b) {
  return a & b;
}
inline I or_bits(I a, I b) {
  return a | b;
}
template <int n>
inline I shift_left(I a) {
  return static_cast<I>(static_cast<uint32_t>(a) << n);
}
template <int n>
inline I shift_right(I a) {
  return a >> n;
}
inline F to_float(I a) {
  return {static_cast<float>(a)};
}
// p * 2^n for an integral n in [-250, 250], in two steps: either power is an ordinary number.
inline F scale_by_power(F p, F n) {
  if (n.v != n.v) return n;
  const I whole = static_cast<I>(n.v), half = whole / 2;
  const F once = mul(p, floats((half + 127) << 23));
  return mul(once, floats((whole - half + 127) << 23));
}
inline float sum_of(F v) {
  return v.v;
}

}  // namespace
