// The LSTM's step kernels, for the lanes of whichever file includes this. A lane is one unit of one
// row; sums over a row are f32 per lane, joined by a fixed tree.
#pragma once

#include "ops/recurrent/lstm_kernels.h"
#include "ops/vector/math-inl.h"

namespace {

using tessera::GainRow;
using tessera::GainRowGrad;
using tessera::LstmKernels;
using tessera::LstmStep;
using tessera::LstmStepGrad;

// Whole vectors, and a last one of which n < kLanes lanes count.
struct Whole {
  F get(const float* p) const { return load(p); }
  void put(float* p, F v) const { store(p, v); }
};
struct Part {
  int64_t n;
  F get(const float* p) const { return load_n(p, n); }
  void put(float* p, F v) const { store_n(p, v, n); }
};

template <class Fn>
inline void over(int64_t n, Fn fn) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) fn(i, Whole());
  if (i < n) fn(i, Part{n - i});
}

void step(const LstmStep& s) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const float* p = s.product + r * s.product_ld;
    const float* x = s.x + r * 4 * s.gate;
    float* gates = s.gates + r * 4 * s.gate;
    const float* c_before = s.c_before + r * s.gate;
    float *c = s.c + r * s.gate, *h = s.h + r * s.gate;
    over(s.units, [&](int64_t u, auto lanes) {
      const auto sum = [&](int64_t gate) {
        return add(lanes.get(x + gate * s.gate + u), lanes.get(p + gate * s.product_gate + u));
      };
      const F in = sigmoid(sum(0)), forget = sigmoid(sum(1));
      const F cell = tanh(sum(2)), out = sigmoid(sum(3));
      const F now = fma(forget, lanes.get(c_before + u), mul(in, cell));
      lanes.put(gates + u, in);
      lanes.put(gates + s.gate + u, forget);
      lanes.put(gates + 2 * s.gate + u, cell);
      lanes.put(gates + 3 * s.gate + u, out);
      lanes.put(c + u, now);
      lanes.put(h + u, mul(out, tanh(now)));
    });
  }
}

inline F one_minus(F x) {
  return sub(set(1.0f), x);
}

void step_grad(const LstmStepGrad& s) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const float* gates = s.gates + r * 4 * s.gate;
    float* dx = s.dx + r * 4 * s.gate;
    const int64_t row = r * s.gate;
    over(s.units, [&](int64_t u, auto lanes) {
      F dh = set(0.0f);
      if (s.product) dh = lanes.get(s.product + r * s.product_ld + u);
      if (s.mask) dh = mul(dh, lanes.get(s.mask + row + u));
      if (s.dh) dh = add(dh, lanes.get(s.dh + row + u));
      const F in = lanes.get(gates + u), forget = lanes.get(gates + s.gate + u);
      const F cell = lanes.get(gates + 2 * s.gate + u), out = lanes.get(gates + 3 * s.gate + u);
      const F t = tanh(lanes.get(s.c + row + u));
      const F dc = fma(mul(dh, out), one_minus(mul(t, t)), lanes.get(s.dc + row + u));
      const F before = lanes.get(s.c_before + row + u);
      lanes.put(dx + u, mul(mul(dc, cell), mul(in, one_minus(in))));
      lanes.put(dx + s.gate + u, mul(mul(dc, before), mul(forget, one_minus(forget))));
      lanes.put(dx + 2 * s.gate + u, mul(mul(dc, in), one_minus(mul(cell, cell))));
      lanes.put(dx + 3 * s.gate + u, mul(mul(dh, t), mul(out, one_minus(out))));
      lanes.put(s.dc + row + u, mul(dc, forget));
    });
  }
}

// Sums of fn(i, lanes) over a row; lanes past its end count as zero.
inline F kept(Whole, F v) {
  return v;
}
inline F kept(Part part, F v) {
  return keep_n(v, part.n, set(0.0f));
}
template <class Fn>
inline float row_sum(int64_t n, Fn fn) {
  F total = set(0.0f);
  over(n, [&](int64_t i, auto lanes) { total = add(total, kept(lanes, fn(i, lanes))); });
  return sum_of(total);
}

void gain(const GainRow& s) {
  const float count = static_cast<float>(s.n);
  F mean = set(0.0f), scale = set(1.0f);
  if (s.rstd) {
    mean = set(row_sum(s.n, [&](int64_t i, auto lanes) { return lanes.get(s.p + i); }) / count);
    const float variance = row_sum(s.n,
                                   [&](int64_t i, auto lanes) {
                                     const F away = sub(lanes.get(s.p + i), mean);
                                     return mul(away, away);
                                   }) /
                           count;
    scale = div(set(1.0f), sqrt(set(variance + s.epsilon)));
    float lanes[kLanes];
    store(lanes, scale);
    *s.rstd = lanes[0];
  }
  over(s.n, [&](int64_t i, auto lanes) {
    const F v = mul(sub(lanes.get(s.p + i), mean), scale);
    lanes.put(s.normalized + i, v);
    lanes.put(s.p + i, mul(v, lanes.get(s.gain + i)));
  });
}

void gain_grad(const GainRowGrad& s) {
  const auto product = [&](int64_t i, auto lanes) {
    return mul(lanes.get(s.dx + i), lanes.get(s.gain + i));
  };
  F mean = set(0.0f), slope = set(0.0f), scale = set(1.0f);
  if (s.rstd) {
    const float count = static_cast<float>(s.n);
    mean = set(row_sum(s.n, product) / count);
    slope = set(row_sum(s.n,
                        [&](int64_t i, auto lanes) {
                          return mul(product(i, lanes), lanes.get(s.normalized + i));
                        }) /
                count);
    scale = set(*s.rstd);
  }
  over(s.n, [&](int64_t i, auto lanes) {
    const F away = sub(product(i, lanes), mean);
    lanes.put(s.dp + i, mul(scale, fma(negate(slope), lanes.get(s.normalized + i), away)));
  });
}

}  // namespace
