// What the LSTM scan and its kernel files agree on: plain structs. A kernel works on some rows and
// neighbouring units of one step; a gate of a unit lies `gate` floats behind the gate before it.
#pragma once

#include <stdint.h>

namespace tessera {

struct LstmStep {
  int64_t rows, units;
  const float* product;  // R h: row stride product_ld, gates product_gate apart
  int64_t product_ld, product_gate;
  const float* x;  // the rest of the pre-activation; row stride 4 gate
  float* gates;    // i, f, g, o behind their functions; as x
  int64_t gate;
  const float* c_before;  // row stride gate, as c and h
  float* c;
  float* h;
};

struct LstmStepGrad {
  int64_t rows, units;
  const float* product;  // what later steps say of h, row stride product_ld; may be null
  int64_t product_ld;
  const float* mask;  // times product; row stride gate; may be null
  const float* dh;    // of h itself, row stride gate; may be null
  const float* gates;
  int64_t gate;
  const float* c_before;
  const float* c;
  float* dc;  // of c; becomes that of c_before
  float* dx;  // of the pre-activation; as gates
};

// One row of a product p of n elements under a gain.
struct GainRow {
  int64_t n;
  float* p;  // becomes gain * normalized
  const float* gain;
  float* normalized;  // p, or (p - mean) / sqrt(variance + epsilon)
  float* rstd;        // 1 / sqrt(variance + epsilon); null: p is not normalized
  float epsilon;
};
struct GainRowGrad {
  int64_t n;
  const float* dx;  // of gain * normalized
  const float* gain;
  const float* normalized;
  const float* rstd;  // null: not normalized
  float* dp;          // of p
};

struct LstmKernels {
  const char* name;
  void (*step)(const LstmStep&);
  void (*step_grad)(const LstmStepGrad&);
  void (*gain)(const GainRow&);
  void (*gain_grad)(const GainRowGrad&);
};

extern "C" const LstmKernels tessera_lstm_ref;
#if defined(__x86_64__)
extern "C" const LstmKernels tessera_lstm_avx2;
extern "C" const LstmKernels tessera_lstm_avx512;
#endif

}  // namespace tessera
