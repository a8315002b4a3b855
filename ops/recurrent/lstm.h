// Recurrent layers over whole sequences.
#pragma once

#include "core/op_def.h"

namespace tessera {

extern const OpDef kLstmScan, kLstmScanGrad;

namespace ops {

struct LstmScanOptions {
  // f32[batch, h], times h before the recurrent product of every step: one dropout mask for a
  // sequence (Gal & Ghahramani 2016). No gradient.
  Value mask = {};
  // f32[4h], times the recurrent product: the scales of a weight-normalized R (Salimans & Kingma
  // 2016), or the gain of the normalization.
  Value gain = {};
  // The product of a step and sample minus its mean over the 4h gates, by its deviation, times gain
  // (Ba, Kiros & Hinton 2016, equation 20). Needs a gain.
  bool norm = false;
  double epsilon = 1e-5;
};
struct LstmScanResult {
  Value h;               // f32[steps, batch, h]
  Value last_h, last_c;  // f32[batch, h]
};
// Steps of an LSTM (Gers et al. 2000, without peepholes):
//   i, f, g, o = x[t] + R h[t-1];  c[t] = s(f) c[t-1] + s(i) tanh(g);  h[t] = s(o) tanh(c[t])
// x f32[steps, batch, 4h], the input's product and the bias, gates in this order; R f32[4h, h],
// dense or codebook storage; h0, c0 f32[batch, h]. Throws Error where shapes do not fit.
LstmScanResult lstm_scan(Value x, Value r, Value h0, Value c0, const LstmScanOptions& options = {});

}  // namespace ops
}  // namespace tessera
