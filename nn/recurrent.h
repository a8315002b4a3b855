// Modules of sequences of tokens: embeddings, and LSTM layers whose states go in and come out as
// values.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "nn/module.h"
#include "ops/recurrent/lstm.h"

namespace tessera::nn {

// Rows of a table "weight" [tokens, width] by number: s32 [...] -> f32 [..., width].
class Embedding final : public Module {
 public:
  Embedding(std::int64_t tokens, std::int64_t width, Init init = Init::normal(1));
  Value forward(Scope& scope, Value index) const override;
  // The table, for a layer that reads it, too.
  Value table(Scope& scope) const;

 private:
  std::int64_t tokens_, width_;
  Init init_;
};

// What keeps the products of an LSTM's weights in size, without which binary and ternary ones do
// not train (Hou et al., "Normalization helps training of quantized LSTM", NeurIPS 2019).
enum class RecurrentNorm {
  none,
  // Each product minus its mean over the gates of a step and sample, by its deviation, times a gain
  // (Ba, Kiros & Hinton 2016).
  layer,
  // Each row of a weight by its length, times a gain (Salimans & Kingma 2016).
  weight,
};
// "none", "layer", "weight"; throws Error on anything else.
RecurrentNorm parse_recurrent_norm(std::string_view text);

struct LstmOptions {
  RecurrentNorm norm = RecurrentNorm::none;
  // Of weights; none: U(-1/sqrt(hidden), 1/sqrt(hidden)), PyTorch's. Biases are zeros.
  std::optional<Init> init = {};
  double forget_bias = 0;  // what the bias of the forget gate starts with
  // Probability with which an element of h is zeroed before every recurrent product of a window,
  // the same ones at all steps (Gal & Ghahramani 2016).
  double recurrent_dropout = 0;
};

// One layer: "weight_ih" [4 hidden, in], "weight_hh" [4 hidden, hidden], "bias" [4 hidden], gates
// in the order i, f, g, o; with a normalization "gain_ih" and "gain_hh" [4 hidden].
class Lstm {
 public:
  Lstm(std::int64_t in, std::int64_t hidden, LstmOptions options = {});
  std::int64_t hidden() const { return hidden_; }

  struct Result {
    Value y;     // f32[steps, batch, hidden]
    Value h, c;  // f32[batch, hidden], after the last step
  };
  // x f32[steps, batch, in]; h0, c0 f32[batch, hidden].
  Result forward(Scope& scope, Value x, Value h0, Value c0) const;

 private:
  Result stepwise(Scope& scope, Value gate_inputs, Value hh, Value h, Value c,
                  const ops::LstmScanOptions& scan) const;

  std::int64_t in_, hidden_;
  LstmOptions options_;
};

// Dropout of a sequence f32[steps, batch, width] between layers: of single elements (Zaremba et al.
// 2014), or one mask for all steps of a window (Gal & Ghahramani 2016).
class SequenceDropout final : public Module {
 public:
  SequenceDropout(double p, bool same_at_all_steps);  // throws Error unless 0 <= p < 1
  Value forward(Scope& scope, Value x) const override;

 private:
  double p_;
  bool same_;
};

}  // namespace tessera::nn
