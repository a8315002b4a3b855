// lstm_scan(x f32[t, b, 4h], r f32[4h, h], h0, c0 f32[b, h], mask f32[b, h], gain f32[4h]) {norm,
// epsilon}: with i, f, g, o the quarters of the last axis, for each step s
//   p = r (mask h[s-1]);  n = norm ? (p - mean p) / sqrt(variance p + epsilon) : p
//   i, f, g, o = x[s] + gain n;  gates i' = sigmoid i, f' = sigmoid f, g' = tanh g, o' = sigmoid o
//   c[s] = f' c[s-1] + i' g';  h[s] = o' tanh c[s]
// -> h, last h, last c, and for the gradient c, gates, with a gain n, with norm 1 / deviation.
// lstm_scan_grad(r, c0, c, gates, dh, d last h, d last c, mask, gain, n, 1 / deviation)
// {states} -> dx, with a gain dp, with states dh0 and dc0. Gradients of r and gain are products
// over all steps at once. Accumulator: f32 in ascending h (f64 in the references).
#include "ops/recurrent/lstm.h"

#include <cmath>

#include "ops/matmul/matmul.h"
#include "ops/op_common.h"
#include "ops/recurrent/lstm_rows.h"

namespace tessera {

namespace {

enum Operand { kX, kR, kH0, kC0, kMask, kGain };
enum Result { kH, kLastH, kLastC, kC, kGates, kNormalized, kRstd };
enum GradOperand { gR, gC0, gC, gGates, gDh, gDLastH, gDLastC, gMask, gGain, gNormalized, gRstd };

std::string gradient_only(int result) {
  return cat("[lstm_scan] result ", result, " is for the gradient of the others");
}

std::vector<TensorType> infer(const InferArgs& args) {
  args.require_rank(kX, 3);
  for (const int i : {kX, kR, kH0, kC0, kMask, kGain})
    if (args.has(i)) args.require_dtype(i, DType::f32);
  const Dim steps = args.shape(kX)[0], batch = args.shape(kX)[1], wide = args.shape(kX)[2];
  args.require_rank(kR, 2);
  const Dim h = args.shape(kR)[1];
  args.require(!steps.is_symbolic() && steps.value() >= 1 && !h.is_symbolic() && h.value() >= 1,
               "expected x [steps, batch, 4h] of a step and more, got ", args.in(kX).text());
  args.require(wide == h * 4 && args.shape(kR)[0] == wide, "x ", args.in(kX).text(),
               " needs r f32[4h,h], got ", args.in(kR).text());
  const Shape state = {batch, h};
  for (const int i : {kH0, kC0, kMask})
    args.require(!args.has(i) || args.shape(i) == state, args.op.input_def(i).name, " must be f32",
                 state.text(), ", got ", args.in(i).text());
  args.require(!args.has(kGain) || args.shape(kGain) == Shape{wide}, "the gain must be f32[",
               wide.text(), "], got ", args.in(kGain).text());
  const bool norm = args.attrs.boolean("norm");
  args.require(!norm || args.has(kGain), "normalization needs a gain");
  args.require(args.attrs.real("epsilon") >= 0, "epsilon must not be negative, got ",
               args.attrs.real("epsilon"));
  const auto f32 = [](const Shape& shape) { return TensorType{DType::f32, shape, {}}; };
  const TensorType all = f32({steps, batch, h}), gates = f32(args.shape(kX));
  std::vector<TensorType> out = {all, f32(state), f32(state), all, gates};
  if (args.has(kGain)) out.push_back(gates);
  if (norm) out.push_back(f32({steps, batch}));
  return out;
}

std::vector<TensorType> infer_grad(const InferArgs& args) {
  args.require_rank(gGates, 3);
  args.require_rank(gR, 2);
  for (int i = 0; i <= gRstd; ++i)
    if (args.has(i)) args.require_dtype(i, DType::f32);
  const Dim steps = args.shape(gGates)[0], batch = args.shape(gGates)[1];
  const Dim h = args.shape(gR)[1];
  args.require(!steps.is_symbolic() && steps.value() >= 1 && !h.is_symbolic() && h.value() >= 1,
               "expected gates [steps, batch, 4h] of a step and more, got ",
               args.in(gGates).text());
  const Shape state = {batch, h}, all = {steps, batch, h}, wide = {steps, batch, h * 4};
  const auto require_shape = [&](int i, const Shape& shape) {
    args.require(!args.has(i) || args.shape(i) == shape, args.op.input_def(i).name, " must be f32",
                 shape.text(), ", got ", args.in(i).text());
  };
  require_shape(gR, {h * 4, h});
  for (const int i : {gC0, gDLastH, gDLastC, gMask}) require_shape(i, state);
  for (const int i : {gC, gDh}) require_shape(i, all);
  for (const int i : {gGates, gNormalized}) require_shape(i, wide);
  require_shape(gGain, {h * 4});
  require_shape(gRstd, {steps, batch});
  args.require(args.has(gGain) == args.has(gNormalized) && (args.has(gGain) || !args.has(gRstd)),
               "a gain comes with what it multiplied, a normalization with a gain");
  const auto f32 = [](const Shape& shape) { return TensorType{DType::f32, shape, {}}; };
  std::vector<TensorType> out(args.has(gGain) ? 2 : 1, f32(wide));
  if (args.attrs.boolean("states")) out.insert(out.end(), 2, f32(state));
  return out;
}

std::vector<Value> grad(const GradArgs& args) {
  for (int o = kC; o < static_cast<int>(args.grads.size()); ++o)
    check(!args.grad(o), gradient_only(o));
  const auto optional = [&](std::size_t i) {
    return i < args.node.inputs().size() ? args.node.inputs()[i] : Value();
  };
  const auto result = [&](int o) {
    return o < static_cast<int>(args.node.types().size()) ? args.out(o) : Value();
  };
  const Value mask = optional(kMask), gain = optional(kGain);
  const bool states = args.wants(kH0) || args.wants(kC0);
  const Node& back = args.in(kX).graph().add(
      kLstmScanGrad,
      {args.in(kR), args.in(kC0), args.out(kC), args.out(kGates), args.grad(kH), args.grad(kLastH),
       args.grad(kLastC), mask, gain, result(kNormalized), result(kRstd)},
      {{"states", states}});
  std::vector<Value> out(args.node.inputs().size());
  const Value dx = back.output(0), dp = gain ? back.output(1) : dx;
  out[kX] = dx;
  if (states) {
    out[kH0] = back.output(gain ? 2 : 1);
    out[kC0] = back.output(gain ? 3 : 2);
  }
  const Shape& shape = args.in(kX).shape();
  const Dim rows = shape[0] * shape[1], h = args.in(kR).shape()[1];
  if (args.wants(kR)) {
    const Value first = ops::reshape(args.in(kH0), {1, shape[1], h});
    Value before = first;
    if (const std::int64_t steps = shape[0].value(); steps > 1)
      before = ops::concat({first, ops::slice(args.out(kH), 0, 0, steps - 1)}, 0);
    if (mask) before = before * mask;
    out[kR] = ops::matmul(ops::reshape(dp, {rows, shape[2]}), ops::reshape(before, {rows, h}), true,
                          false);
  }
  if (gain && args.wants(kGain)) out[kGain] = ops::sum(dx * args.out(kNormalized), {0, 1});
  return out;
}

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

const std::vector<double>* values(const RefArgs& args, std::size_t i) {
  return i < args.inputs.size() && args.inputs[i] ? &args.inputs[i]->v : nullptr;
}

void ref(const RefArgs& args) {
  const Shape& shape = args.in(kX).type.shape;
  const std::int64_t steps = shape[0].value(), batch = shape[1].value(), n = shape[2].value();
  const std::int64_t h = n / 4;
  const auto& r = args.in(kR).v;
  const auto *mask = values(args, kMask), *gain = values(args, kGain);
  const bool norm = args.node.attrs().boolean("norm");
  std::vector<double> hidden = args.in(kH0).v, cell = args.in(kC0).v, p(at(n));
  for (std::int64_t row = 0; row < steps * batch; ++row) {
    const std::int64_t state = row % batch * h;
    for (std::int64_t i = 0; i < n; ++i) {
      p[at(i)] = 0;
      for (std::int64_t j = 0; j < h; ++j)
        p[at(i)] += r[at(i * h + j)] * hidden[at(state + j)] * (mask ? (*mask)[at(state + j)] : 1);
    }
    double mean = 0, variance = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += p[at(i)] / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i)
      variance += (p[at(i)] - mean) * (p[at(i)] - mean) / static_cast<double>(n);
    const double rstd = 1 / std::sqrt(variance + args.node.attrs().real("epsilon"));
    if (norm) args.out(kRstd).v[at(row)] = rstd;
    for (std::int64_t i = 0; i < n; ++i) {
      const double normalized = norm ? (p[at(i)] - mean) * rstd : p[at(i)];
      if (gain) args.out(kNormalized).v[at(row * n + i)] = normalized;
      const double sum = args.in(kX).v[at(row * n + i)] + (gain ? (*gain)[at(i)] : 1) * normalized;
      args.out(kGates).v[at(row * n + i)] = i / h == 2 ? std::tanh(sum) : sigmoid(sum);
    }
    const double* gates = args.out(kGates).v.data() + row * n;
    for (std::int64_t j = 0; j < h; ++j) {
      double& c = cell[at(state + j)];
      c = gates[h + j] * c + gates[j] * gates[2 * h + j];
      hidden[at(state + j)] = gates[3 * h + j] * std::tanh(c);
      args.out(kC).v[at(row * h + j)] = c;
      args.out(kH).v[at(row * h + j)] = hidden[at(state + j)];
    }
  }
  args.out(kLastH).v = hidden;
  args.out(kLastC).v = cell;
}

// From da to dp of one row: the gradient of gain * normalized(p).
void ref_grad_gain(const RefArgs& args, std::int64_t row, std::vector<double>& dp) {
  const auto& gain = *values(args, gGain);
  const double* normalized = values(args, gNormalized)->data() + row * std::ssize(dp);
  const auto* rstd = values(args, gRstd);
  double mean = 0, slope = 0;
  for (std::size_t i = 0; i < dp.size(); ++i) {
    dp[i] *= gain[i];
    mean += dp[i] / static_cast<double>(dp.size());
    slope += dp[i] * normalized[i] / static_cast<double>(dp.size());
  }
  for (std::size_t i = 0; rstd && i < dp.size(); ++i)
    dp[i] = (dp[i] - mean - normalized[i] * slope) * (*rstd)[at(row)];
  for (std::size_t i = 0; i < dp.size(); ++i) args.out(1).v[at(row) * dp.size() + i] = dp[i];
}

void ref_grad(const RefArgs& args) {
  const Shape& shape = args.in(gGates).type.shape;
  const std::int64_t steps = shape[0].value(), batch = shape[1].value(), n = shape[2].value();
  const std::int64_t h = n / 4;
  const auto& r = args.in(gR).v;
  const auto *dh = values(args, gDh), *mask = values(args, gMask);
  const auto given = [&](int i) {
    return values(args, at(i)) ? *values(args, at(i)) : std::vector<double>(at(batch * h));
  };
  std::vector<double> hidden = given(gDLastH), cell = given(gDLastC), dp(at(n));
  for (std::int64_t row = steps * batch; row-- > 0;) {
    const std::int64_t state = row % batch * h;
    const double* gates = args.in(gGates).v.data() + row * n;
    double* dx = args.out(0).v.data() + row * n;
    for (std::int64_t j = 0; j < h; ++j) {
      const double i = gates[j], f = gates[h + j], g = gates[2 * h + j], o = gates[3 * h + j];
      const double t = std::tanh(args.in(gC).v[at(row * h + j)]);
      const double before =
          row < batch ? args.in(gC0).v[at(state + j)] : args.in(gC).v[at((row - batch) * h + j)];
      const double d = hidden[at(state + j)] + (dh ? (*dh)[at(row * h + j)] : 0);
      const double dc = cell[at(state + j)] + d * o * (1 - t * t);
      dx[j] = dc * g * i * (1 - i);
      dx[h + j] = dc * before * f * (1 - f);
      dx[2 * h + j] = dc * i * (1 - g * g);
      dx[3 * h + j] = d * t * o * (1 - o);
      cell[at(state + j)] = dc * f;
    }
    dp.assign(dx, dx + n);
    if (values(args, gGain)) ref_grad_gain(args, row, dp);
    for (std::int64_t j = 0; j < h; ++j) {
      double sum = 0;
      for (std::int64_t i = 0; i < n; ++i) sum += dp[at(i)] * r[at(i * h + j)];
      hidden[at(state + j)] = sum * (mask ? (*mask)[at(state + j)] : 1);
    }
  }
  if (!args.node.attrs().boolean("states")) return;
  const int first = values(args, gGain) ? 2 : 1;
  args.out(first).v = hidden;
  args.out(first + 1).v = cell;
}

double work(const Node& node) {
  const Shape& gates = node.types()[node.op().name == "lstm_scan" ? kGates : 0].shape;
  return static_cast<double>(gates.numel()) * static_cast<double>(gates[2].value() / 4 + 40);
}

struct SampleSize {
  std::int64_t steps, batch, h;
  bool mask, gain, norm;
};
constexpr SampleSize kSampleSizes[] = {
    {1, 1, 1, false, false, false},   {2, 3, 5, true, false, false},
    {3, 1, 8, false, true, false},    {2, 2, 17, true, true, true},
    {3, 21, 20, false, false, false}, {1, 5, 33, false, true, true},
    {2, 70, 40, false, false, false},
};

std::optional<Sample> sample(Rng&, int index) {
  if (index >= static_cast<int>(std::size(kSampleSizes))) return std::nullopt;
  const auto [steps, batch, h, mask, gain, norm] = kSampleSizes[index];
  Sample out{
      {{f32({steps, batch, 4 * h})}, {f32({4 * h, h})}, {f32({batch, h})}, {f32({batch, h})}},
      // R may be a codebook of one entry: no deviation, but rounding errors.
      {{"norm", norm}, {"epsilon", 0.5}}};
  out.inputs.push_back({f32({batch, h}), 0, 2, {}, !mask});
  out.inputs.push_back({f32({4 * h}), 0.5, 1.5, {}, !gain});
  return out;
}

std::optional<Sample> sample_grad(Rng&, int index) {
  if (index >= static_cast<int>(std::size(kSampleSizes))) return std::nullopt;
  const auto [steps, batch, h, mask, gain, norm] = kSampleSizes[index];
  const TensorType state = f32({batch, h}), all = f32({steps, batch, h});
  const TensorType wide = f32({steps, batch, 4 * h});
  return Sample{{{f32({4 * h, h})},
                 {state},
                 {all},
                 {wide, 0.1, 0.9},
                 {all, -1, 1, {}, index == 1},
                 {state, -1, 1, {}, index % 2 == 0},
                 {state, -1, 1, {}, index % 3 == 0},
                 {state, 0, 2, {}, !mask},
                 {f32({4 * h}), 0.5, 1.5, {}, !gain},
                 {wide, -1, 1, {}, !gain},
                 {f32({steps, batch}), 0.5, 2, {}, !norm}},
                {{"states", index != 4}}};
}

}  // namespace

const OpDef kLstmScan{
    .name = "lstm_scan",
    .doc = "steps of an LSTM: c = f c + i g, h = o tanh c, gates of x + R h",
    .inputs = {{"x"},
               {.name = "r", .encoded = true},
               {"h0"},
               {"c0"},
               {.name = "mask", .differentiable = false, .optional = true},
               {.name = "gain", .optional = true}},
    .attrs = {{"norm", AttrKind::boolean, false}, {"epsilon", AttrKind::real, 1e-5}},
    .infer = infer,
    .grad = grad,
    .ref = ref,
    .work = work,
    .sample = sample,
    .rows = lstm_scan_rows()};

const OpDef kLstmScanGrad{
    .name = "lstm_scan_grad",
    .doc = "gradients of lstm_scan's pre-activations and first states",
    .inputs = {{.name = "r", .differentiable = false, .encoded = true},
               {.name = "c0", .differentiable = false},
               {.name = "c", .differentiable = false},
               {.name = "gates", .differentiable = false},
               {.name = "dh", .differentiable = false, .optional = true},
               {.name = "d last h", .differentiable = false, .optional = true},
               {.name = "d last c", .differentiable = false, .optional = true},
               {.name = "mask", .differentiable = false, .optional = true},
               {.name = "gain", .differentiable = false, .optional = true},
               {.name = "normalized", .differentiable = false, .optional = true},
               {.name = "rstd", .differentiable = false, .optional = true}},
    .attrs = {{"states", AttrKind::boolean, true}},
    .infer = infer_grad,
    .ref = ref_grad,
    .work = work,
    .sample = sample_grad,
    .rows = lstm_scan_grad_rows()};

namespace ops {

LstmScanResult lstm_scan(Value x, Value r, Value h0, Value c0, const LstmScanOptions& options) {
  const Node& node = x.graph().add(kLstmScan, {x, r, h0, c0, options.mask, options.gain},
                                   {{"norm", options.norm}, {"epsilon", options.epsilon}});
  return {node.output(kH), node.output(kLastH), node.output(kLastC)};
}

}  // namespace ops
}  // namespace tessera
