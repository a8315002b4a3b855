// The typed graph builders: what models, objectives and gradients are written with. Every builder
// checks its operands and throws Error "[op] ..." where the call is. Elementwise operands broadcast
// by numpy's rule and may be numbers: ops::mul(x, 2.0), 1.0 - x.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/graph.h"

namespace tessera::ops {

// A value, or a number that becomes a scalar constant.
class Arg {
 public:
  Arg(Value value) : value_(value) {}  // NOLINT: both are meant to be implicit
  Arg(double number) : number_(number), is_number_(true) {}  // NOLINT
  Graph* graph() const { return value_ ? &value_.graph() : nullptr; }
  // None when a value was given that is none.
  Value in(Graph& graph) const { return is_number_ ? graph.constant(number_) : value_; }

 private:
  Value value_;
  double number_ = 0;
  bool is_number_ = false;
};

// ---- elementwise (f32): ops::add(a, b), ops::tanh(x) and all other rows of the table ----
#define ELEMENTWISE_1(NAME, OP, X, DOC, ...) Value NAME(Value X);
#define ELEMENTWISE_2(NAME, OP, A, B, DOC, ...) Value NAME(const Arg& A, const Arg& B);
#define ELEMENTWISE_3(NAME, OP, A, B, C, DOC, ...) \
  Value NAME(const Arg& A, const Arg& B, const Arg& C);
#include "ops/elementwise/table.inc"

Value gelu(Value x);  // x Phi(x), exact
Value silu(Value x);  // x sigmoid(x)
Value leaky_relu(Value x, double slope);

Value cast(Value x, DType dtype);
Value one_hot(Value labels, std::int64_t classes);  // s32 [...] -> f32 [..., classes]

// ---- reductions; no axes means all of them ----
Value sum(Value x, const Ints& axes = {}, bool keep = false);
Value mean(Value x, const Ints& axes = {}, bool keep = false);
Value max(Value x, const Ints& axes = {}, bool keep = false);
Value count(Value x, const Ints& axes = {});  // number of elements as a scalar f32
Value argmax(Value x, int axis = -1);         // s32, the first of equal ones
Value broadcast_to(Value x, const Shape& shape);
Value sum_to(Value x, const Shape& shape);  // the inverse of broadcast_to for gradients

// ---- movement, any dtype ----
Value reshape(Value x, const Shape& shape);
Value transpose(Value x, const Ints& perm = {});  // no perm: reversed axes
Value slice(Value x, int axis, std::int64_t begin, std::int64_t end, std::int64_t step = 1);
Value concat(const std::vector<Value>& xs, int axis);
// Zeros of `size` along axis with x at begin, begin + step, ...
Value place(Value x, int axis, std::int64_t begin, std::int64_t size, std::int64_t step = 1);
Value pad(Value x, int axis, std::int64_t before, std::int64_t after);

// ---- convolution, pooling, normalization: images are [n, channels, height, width] ----
struct Conv2dOptions {
  std::array<std::int64_t, 2> stride = {1, 1}, dilation = {1, 1};  // down, right
  std::array<std::int64_t, 4> padding = {0, 0, 0, 0};              // top, left, bottom, right
  std::int64_t groups = 1;
};
// Cross-correlation; x f32[n, c, h, w], weight f32[out, c / groups, kh, kw], dense or codebook.
Value conv2d(Value x, Value weight, const Conv2dOptions& options = {});

struct Pool2dOptions {
  std::array<std::int64_t, 2> kernel = {2, 2};
  std::array<std::int64_t, 2> stride = {0, 0};  // 0: the kernel's size
  std::array<std::int64_t, 4> padding = {0, 0, 0, 0};
  bool ceil = false;  // a last window may reach over the border, as Caffe and PyTorch's ceil_mode
  bool count_pad = true;  // averages divide by the whole window
};
Value max_pool2d(Value x, const Pool2dOptions& options = {});
Value avg_pool2d(Value x, const Pool2dOptions& options = {});
Value global_avg_pool2d(Value x);  // [n, c, h, w] -> [n, c]
// [n, c, h, w] -> [n, c, factor h, factor w]; bilinear: between centres of pixels, the border goes
// on.
enum class Upsampling { nearest, bilinear };
Value upsample2d(Value x, std::int64_t factor, Upsampling how = Upsampling::nearest);

// Per channel (axis 1) over all other axes; variance is the mean squared deviation.
// Ioffe & Szegedy 2015, algorithm 1.
struct BatchNormResult {
  Value y, mean, variance;  // mean, variance: f32[c] of this batch
};
// With several ranks (core/communicator.h), each of which has as many rows, of the joint batch.
BatchNormResult batch_norm_train(Value x, Value gamma, Value beta, double epsilon = 1e-5,
                                 std::int64_t ranks = 1);
Value batch_norm(Value x, Value gamma, Value beta, Value mean, Value variance,
                 double epsilon = 1e-5);

// ---- softmax and losses ----
Value softmax(Value x, int axis = -1);
Value log_softmax(Value x, int axis = -1);
// logits f32[n, c], labels s32[n] in [0, c) -> f32[n]: -log softmax(logits)[label].
Value cross_entropy(Value logits, Value labels, double label_smoothing = 0);
// logits, targets f32[n, c] -> f32[n].
Value soft_cross_entropy(Value logits, Value targets);
Value mse(Value a, Value b);  // mean of squared differences, scalar

// ---- random ----
// f32 in [0, 1), a pure function of (seed s64[], step s64[], id, element).
Value uniform(Value seed, Value step, const Shape& shape, std::int64_t id);
// Which of `ranks` parts of a joint batch, one behind the other, the rows here are; rank: s64[].
struct JointRows {
  Value rank = {};
  std::int64_t ranks = 1;
};
// What the joint value has in these rows, where the shape has an axis of the batch.
Value uniform(Value seed, Value step, const Shape& shape, std::int64_t id, const JointRows& joint);
// Zeroes each element with probability p and scales the rest by 1 / (1 - p). `name` is the stable
// path of the layer.
Value dropout(Value x, double p, Value seed, Value step, std::string_view name,
              const JointRows& joint = {});

// ---- one optimizer step, as elementwise nodes that fuse into one pass over memory ----
struct SgdResult {
  Value param, momentum;
};
// PyTorch's SGD: g += decay * w; m = momentum * m + g; w -= lr * (nesterov ? g + momentum * m : m).
SgdResult sgd_update(Value param, Value grad, Value momentum_buffer, const Arg& lr,
                     const Arg& momentum, bool nesterov = false, const Arg& weight_decay = 0.0);

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool decoupled_decay = false;  // AdamW
};
struct AdamResult {
  Value param, mean, variance;
};
// PyTorch's Adam; `step` is the scalar number of this update, from 1.
AdamResult adam_update(Value param, Value grad, Value mean, Value variance, Value step,
                       const Arg& lr, const Arg& weight_decay = 0.0,
                       const AdamOptions& options = {});

}  // namespace tessera::ops

namespace tessera {

inline Value operator+(Value a, Value b) {
  return ops::add(a, b);
}
inline Value operator+(Value a, double b) {
  return ops::add(a, b);
}
inline Value operator+(double a, Value b) {
  return ops::add(a, b);
}
inline Value operator-(Value a, Value b) {
  return ops::sub(a, b);
}
inline Value operator-(Value a, double b) {
  return ops::sub(a, b);
}
inline Value operator-(double a, Value b) {
  return ops::sub(a, b);
}
inline Value operator*(Value a, Value b) {
  return ops::mul(a, b);
}
inline Value operator*(Value a, double b) {
  return ops::mul(a, b);
}
inline Value operator*(double a, Value b) {
  return ops::mul(a, b);
}
inline Value operator/(Value a, Value b) {
  return ops::div(a, b);
}
inline Value operator/(Value a, double b) {
  return ops::div(a, b);
}
inline Value operator/(double a, Value b) {
  return ops::div(a, b);
}
inline Value operator-(Value a) {
  return ops::neg(a);
}

}  // namespace tessera
