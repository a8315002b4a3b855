// Lanes that compute nothing: every operation is written on the current tape. With them the vector
// functions (ops/elementwise/functions-inl.h) tell what they do, so that generated code does the
// same, in the same order, to the same bits. Included by trace.cpp only.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include <bit>

#include "ops/elementwise/jit/tape.h"

namespace {

using tessera::jit::Tape;
using tessera::jit::TapeOp;

// Values are lines of this tape.
thread_local Tape* tape = nullptr;

struct F {
  int line = -1;
};
struct I {
  int line = -1;
};
struct M {
  int line = -1;
};

inline F record(TapeOp op, F a, F b = {}, F c = {}) {
  return {tape->add(op, 0, a.line, b.line, c.line)};
}
inline I record(TapeOp op, I a, I b) {
  return {tape->add(op, 0, a.line, b.line)};
}

inline F set(float v) {
  return {tape->constant(v)};
}
inline F add(F a, F b) {
  return record(TapeOp::add, a, b);
}
inline F sub(F a, F b) {
  return record(TapeOp::sub, a, b);
}
inline F mul(F a, F b) {
  return record(TapeOp::mul, a, b);
}
inline F div(F a, F b) {
  return record(TapeOp::div, a, b);
}
inline F fma(F a, F b, F c) {
  return record(TapeOp::multiply_add, a, b, c);
}
inline F sqrt(F a) {
  return record(TapeOp::sqrt, a);
}
inline F raw_max(F a, F b) {
  return record(TapeOp::max, a, b);
}
inline F raw_min(F a, F b) {
  return record(TapeOp::min, a, b);
}
inline F nearest(F a) {
  return {tape->add(TapeOp::round, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC, a.line)};
}
inline F floor(F a) {
  return {tape->add(TapeOp::round, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC, a.line)};
}

inline M less(F a, F b) {
  return {tape->compare(_CMP_LT_OQ, a.line, b.line)};
}
inline M less_equal(F a, F b) {
  return {tape->compare(_CMP_LE_OQ, a.line, b.line)};
}
inline M same(F a, F b) {
  return {tape->compare(_CMP_EQ_OQ, a.line, b.line)};
}
inline M is_nan(F a) {
  return {tape->compare(_CMP_UNORD_Q, a.line, a.line)};
}
inline F select(M m, F yes, F no) {
  return {tape->select(m.line, yes.line, no.line)};
}

inline I bits(F a) {
  return {a.line};
}
inline F floats(I a) {
  return {a.line};
}
inline I set_bits(int32_t v) {
  return {tape->constant(std::bit_cast<float>(v))};
}
inline I add_bits(I a, I b) {
  return record(TapeOp::add_bits, a, b);
}
inline I sub_bits(I a, I b) {
  return record(TapeOp::sub_bits, a, b);
}
inline I and_bits(I a, I b) {
  return record(TapeOp::and_bits, a, b);
}
inline I or_bits(I a, I b) {
  return record(TapeOp::or_bits, a, b);
}
template <int n>
inline I shift_left(I a) {
  return {tape->add(TapeOp::shift_left, n, a.line)};
}
template <int n>
inline I shift_right(I a) {
  return {tape->add(TapeOp::shift_right, n, a.line)};
}
inline F to_float(I a) {
  return {tape->add(TapeOp::to_float, 0, a.line)};
}
inline F scale_by_power(F p, F n) {
  return record(TapeOp::scale, p, n);
}

}  // namespace
