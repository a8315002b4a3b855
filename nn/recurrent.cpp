#include "nn/recurrent.h"

#include <cmath>
#include <vector>

#include "ops/build.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "ops/recurrent/lstm.h"

namespace tessera::nn {

namespace {

constexpr double kEpsilon = 1e-5;

void check_probability(const char* who, double p) {
  check(p >= 0 && p < 1, "[", who, "] probability must be in [0, 1), got ", p);
}

// 1 / length of the rows of w [n, m], as [n]; 1 for a row of zeros, which ternary weights may have.
Value per_length(Value w) {
  constexpr double kLeast = 1e-30;
  const Value squares = ops::sum(ops::square(w), {1});
  return ops::rsqrt(squares + ops::greater(kLeast, squares));
}

// Rows minus their mean, by their deviation: f32[rows, n].
Value normalized(Value x) {
  const Value away = x - ops::mean(x, {1}, true);
  return away * ops::rsqrt(ops::mean(ops::square(away), {1}, true) + kEpsilon);
}

}  // namespace

Embedding::Embedding(std::int64_t tokens, std::int64_t width, Init init)
    : tokens_(tokens), width_(width), init_(std::move(init)) {
  check(tokens >= 1 && width >= 1, "[Embedding] needs at least one token and one element, got ",
        tokens, " and ", width);
}

Value Embedding::table(Scope& scope) const {
  return scope.param("weight", {tokens_, width_}, init_);
}

Value Embedding::forward(Scope& scope, Value index) const {
  return ops::embedding(table(scope), index);
}

RecurrentNorm parse_recurrent_norm(std::string_view text) {
  if (text == "none") return RecurrentNorm::none;
  if (text == "layer") return RecurrentNorm::layer;
  if (text == "weight") return RecurrentNorm::weight;
  fail("a recurrent normalization is none, layer or weight, got '", text, "'");
}

Lstm::Lstm(std::int64_t in, std::int64_t hidden, LstmOptions options)
    : in_(in), hidden_(hidden), options_(std::move(options)) {
  check(in >= 1 && hidden >= 1, "[Lstm] needs at least one input and one unit, got ", in, " and ",
        hidden);
  check_probability("Lstm", options_.recurrent_dropout);
}

Lstm::Result Lstm::forward(Scope& scope, Value x, Value h0, Value c0) const {
  const Shape& shape = x.shape();
  check(shape.rank() == 3 && shape[2] == Dim(in_), "[Lstm ", scope.path(),
        "] expected x f32[steps,batch,", in_, "], got ", x.type().text());
  const std::int64_t gates = 4 * hidden_;
  const Init init = options_.init.value_or(pytorch_default(hidden_));
  Tensor start(DType::f32, {gates});
  for (std::int64_t i = hidden_; i < 2 * hidden_; ++i)
    start.span<float>()[static_cast<std::size_t>(i)] = static_cast<float>(options_.forget_bias);
  const Value ih = scope.param("weight_ih", {gates, in_}, init);
  const Value hh = scope.param("weight_hh", {gates, hidden_}, init);
  const Value bias = scope.param("bias", {gates}, Init::values(start));
  const bool layer = options_.norm == RecurrentNorm::layer;
  Value gain_ih, gain_hh;
  if (options_.norm != RecurrentNorm::none) {
    gain_ih = scope.param("gain_ih", {gates}, Init::constant(1));
    gain_hh = scope.param("gain_hh", {gates}, Init::constant(1));
  }
  if (options_.norm == RecurrentNorm::weight) {
    gain_ih = gain_ih * per_length(ih);
    gain_hh = gain_hh * per_length(hh);
  }

  x = scope.layer_input(x, "weight_ih");
  Value product = ops::matmul(ops::reshape(x, {shape[0] * shape[1], in_}), ih, false, true);
  if (layer) product = normalized(product);
  if (gain_ih) product = product * gain_ih;
  ops::LstmScanOptions scan{.gain = gain_hh, .norm = layer, .epsilon = kEpsilon};
  if (scope.training() && options_.recurrent_dropout > 0) {
    const Value ones = scope.graph().constant(1.0, h0.type());
    scan.mask = ops::dropout(ones, options_.recurrent_dropout, scope.seed(), scope.step(),
                             scope.path() + ".recurrent", scope.joint_rows());
  }
  const Value gate_inputs = ops::reshape(product + bias, {shape[0], shape[1], gates});
  if (scope.input_hook()) return stepwise(scope, gate_inputs, hh, h0, c0, scan);
  const auto out = ops::lstm_scan(gate_inputs, hh, h0, c0, scan);
  return {out.h, out.last_h, out.last_c};
}

// What is done to the inputs of layers is done to the state before each step's product.
Lstm::Result Lstm::stepwise(Scope& scope, Value gate_inputs, Value hh, Value h, Value c,
                            const ops::LstmScanOptions& scan) const {
  std::vector<Value> all;
  for (std::int64_t t = 0; t < gate_inputs.shape()[0].value(); ++t) {
    h = scope.layer_input(h, "weight_hh");
    const auto out = ops::lstm_scan(ops::slice(gate_inputs, 0, t, t + 1), hh, h, c, scan);
    all.push_back(out.h);
    h = out.last_h;
    c = out.last_c;
  }
  return {ops::concat(all, 0), h, c};
}

SequenceDropout::SequenceDropout(double p, bool same_at_all_steps)
    : p_(p), same_(same_at_all_steps) {
  check_probability("SequenceDropout", p);
}

Value SequenceDropout::forward(Scope& scope, Value x) const {
  if (!scope.training() || p_ == 0) return x;
  Value kept = x;
  if (same_) {
    Shape one = x.shape();
    one[0] = 1;
    kept = scope.graph().constant(1.0, {DType::f32, one, {}});
  }
  kept = ops::dropout(kept, p_, scope.seed(), scope.step(), scope.path(), scope.joint_rows());
  return same_ ? x * kept : kept;
}

}  // namespace tessera::nn
