// All elementwise ops, one table. out[i] = f(a[i], b[i], ...) in f32 after numpy broadcasting; the
// gradient of a broadcast operand is summed back to its shape. Gradients use the op's OUTPUT where
// that is enough (tanh: 1 - y^2, relu: y > 0), so that its input need not be kept for the backward.
#include "ops/elementwise/elementwise.h"

#include <array>
#include <cmath>
#include <numbers>

#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

using Grads = std::vector<Value>;

// Where a sample takes the values of one operand from.
struct Range {
  double low = -1, high = 1;
  bool halves = false;  // only multiples of 0.5, so that ties and equal operands occur
};

struct Row {
  Opcode code;
  std::string_view name;
  int arity;
  std::string_view doc;
  double (*scalar)(const double*);
  Grads (*grad)(const GradArgs&);  // null: zero almost everywhere
  std::array<Range, 3> range = {};
  bool commutative = false;
};

// The cotangent `g`, of the output's shape, as one of input i.
Value to_input(const GradArgs& args, int i, Value g) {
  return ops::sum_to(g, args.in(i).shape());
}

// For one-input ops: dy times a factor.
Grads chain(const GradArgs& args, Value factor) {
  return {args.grad() * factor};
}

double nan_or(double a, double b, bool first) {
  return std::isnan(a) || std::isnan(b) ? std::nan("") : first ? a : b;
}

constexpr Range kHalves{-3, 3, true};

const Row kTable[] = {
    {Opcode::add,
     "add",
     2,
     "a + b",
     [](const double* x) { return x[0] + x[1]; },
     [](const GradArgs& a) -> Grads {
       return {a.wants(0) ? to_input(a, 0, a.grad()) : Value(),
               a.wants(1) ? to_input(a, 1, a.grad()) : Value()};
     },
     {},
     true},
    {Opcode::sub, "sub", 2, "a - b", [](const double* x) { return x[0] - x[1]; },
     [](const GradArgs& a) -> Grads {
       return {a.wants(0) ? to_input(a, 0, a.grad()) : Value(),
               a.wants(1) ? to_input(a, 1, -a.grad()) : Value()};
     }},
    {Opcode::mul,
     "mul",
     2,
     "a * b",
     [](const double* x) { return x[0] * x[1]; },
     [](const GradArgs& a) -> Grads {
       return {a.wants(0) ? to_input(a, 0, a.grad() * a.in(1)) : Value(),
               a.wants(1) ? to_input(a, 1, a.grad() * a.in(0)) : Value()};
     },
     {},
     true},
    {Opcode::div,
     "div",
     2,
     "a / b",
     [](const double* x) { return x[0] / x[1]; },
     [](const GradArgs& a) -> Grads {
       return {a.wants(0) ? to_input(a, 0, a.grad() / a.in(1)) : Value(),
               a.wants(1) ? to_input(a, 1, -(a.grad() * a.out()) / a.in(1)) : Value()};
     },
     {Range{}, Range{0.5, 2}}},
    // Of equal operands the first takes the gradient.
    {Opcode::maximum,
     "maximum",
     2,
     "the larger of a and b; NaN when either is",
     [](const double* x) { return nan_or(x[0], x[1], x[0] >= x[1]); },
     [](const GradArgs& a) -> Grads {
       const Value first = ops::greater_equal(a.in(0), a.in(1));
       return {a.wants(0) ? to_input(a, 0, ops::where(first, a.grad(), 0.0)) : Value(),
               a.wants(1) ? to_input(a, 1, ops::where(first, 0.0, a.grad())) : Value()};
     },
     {},
     true},
    {Opcode::minimum,
     "minimum",
     2,
     "the smaller of a and b; NaN when either is",
     [](const double* x) { return nan_or(x[0], x[1], x[0] <= x[1]); },
     [](const GradArgs& a) -> Grads {
       const Value first = ops::greater_equal(a.in(1), a.in(0));
       return {a.wants(0) ? to_input(a, 0, ops::where(first, a.grad(), 0.0)) : Value(),
               a.wants(1) ? to_input(a, 1, ops::where(first, 0.0, a.grad())) : Value()};
     },
     {},
     true},
    {Opcode::pow,
     "pow",
     2,
     "a to the power b",
     [](const double* x) { return std::pow(x[0], x[1]); },
     [](const GradArgs& a) -> Grads {
       return {a.wants(0) ? to_input(a, 0, a.grad() * a.in(1) * ops::pow(a.in(0), a.in(1) - 1.0))
                          : Value(),
               a.wants(1) ? to_input(a, 1, a.grad() * a.out() * ops::log(a.in(0))) : Value()};
     },
     {Range{0.5, 2}, Range{-2, 2}}},
    {Opcode::greater,
     "greater",
     2,
     "1 where a > b, else 0",
     [](const double* x) { return x[0] > x[1] ? 1.0 : 0.0; },
     nullptr,
     {kHalves, kHalves}},
    {Opcode::greater_equal,
     "greater_equal",
     2,
     "1 where a >= b, else 0",
     [](const double* x) { return x[0] >= x[1] ? 1.0 : 0.0; },
     nullptr,
     {kHalves, kHalves}},
    {Opcode::equal,
     "equal",
     2,
     "1 where a = b, else 0",
     [](const double* x) { return x[0] == x[1] ? 1.0 : 0.0; },
     nullptr,
     {kHalves, kHalves},
     true},
    {Opcode::where,
     "where",
     3,
     "a where condition is not 0, else b",
     [](const double* x) { return x[0] != 0 ? x[1] : x[2]; },
     [](const GradArgs& a) -> Grads {
       return {Value(), a.wants(1) ? to_input(a, 1, ops::where(a.in(0), a.grad(), 0.0)) : Value(),
               a.wants(2) ? to_input(a, 2, ops::where(a.in(0), 0.0, a.grad())) : Value()};
     },
     {Range{-0.5, 0.5, true}}},
    {Opcode::clamp,
     "clamp",
     3,
     "min(max(x, low), high)",
     [](const double* x) {
       const double up = nan_or(x[0], x[1], x[0] >= x[1]);
       return nan_or(up, x[2], up <= x[2]);
     },
     [](const GradArgs& a) -> Grads {
       return {to_input(a, 0, ops::where(ops::equal(a.in(0), a.out()), a.grad(), 0.0))};
     },
     {Range{}, Range{-0.7, -0.3}, Range{0.3, 0.7}}},
    {Opcode::neg, "neg", 1, "-x", [](const double* x) { return -x[0]; },
     [](const GradArgs& a) -> Grads { return {-a.grad()}; }},
    {Opcode::abs, "abs", 1, "|x|", [](const double* x) { return std::fabs(x[0]); },
     [](const GradArgs& a) { return chain(a, ops::sign(a.in(0))); }},
    {Opcode::sqrt,
     "sqrt",
     1,
     "square root of x",
     [](const double* x) { return std::sqrt(x[0]); },
     [](const GradArgs& a) -> Grads { return {a.grad() * 0.5 / a.out()}; },
     {Range{0.5, 2}}},
    {Opcode::rsqrt,
     "rsqrt",
     1,
     "1 / sqrt(x)",
     [](const double* x) { return 1 / std::sqrt(x[0]); },
     [](const GradArgs& a) { return chain(a, ops::square(a.out()) * a.out() * -0.5); },
     {Range{0.5, 2}}},
    {Opcode::square, "square", 1, "x * x", [](const double* x) { return x[0] * x[0]; },
     [](const GradArgs& a) { return chain(a, a.in(0) * 2.0); }},
    {Opcode::exp,
     "exp",
     1,
     "e^x",
     [](const double* x) { return std::exp(x[0]); },
     [](const GradArgs& a) { return chain(a, a.out()); },
     {Range{-3, 3}}},
    {Opcode::log,
     "log",
     1,
     "natural logarithm of x",
     [](const double* x) { return std::log(x[0]); },
     [](const GradArgs& a) -> Grads { return {a.grad() / a.in(0)}; },
     {Range{0.2, 5}}},
    {Opcode::tanh,
     "tanh",
     1,
     "hyperbolic tangent of x",
     [](const double* x) { return std::tanh(x[0]); },
     [](const GradArgs& a) { return chain(a, 1.0 - ops::square(a.out())); },
     {Range{-3, 3}}},
    {Opcode::sigmoid,
     "sigmoid",
     1,
     "1 / (1 + e^-x)",
     [](const double* x) { return 1 / (1 + std::exp(-x[0])); },
     [](const GradArgs& a) { return chain(a, a.out() * (1.0 - a.out())); },
     {Range{-5, 5}}},
    {Opcode::relu, "relu", 1, "max(x, 0)", [](const double* x) { return x[0] < 0 ? 0.0 : x[0]; },
     [](const GradArgs& a) -> Grads {
       return {ops::where(ops::greater(a.out(), 0.0), a.grad(), 0.0)};
     }},
    {Opcode::sign,
     "sign",
     1,
     "-1, 0 or 1 as x is negative, zero or positive",
     [](const double* x) { return x[0] > 0   ? 1.0
                                  : x[0] < 0 ? -1.0
                                             : x[0]; },
     nullptr,
     {kHalves}},
    {Opcode::sin,
     "sin",
     1,
     "sine of x",
     [](const double* x) { return std::sin(x[0]); },
     [](const GradArgs& a) { return chain(a, ops::cos(a.in(0))); },
     {Range{-4, 4}}},
    {Opcode::cos,
     "cos",
     1,
     "cosine of x",
     [](const double* x) { return std::cos(x[0]); },
     [](const GradArgs& a) { return chain(a, -ops::sin(a.in(0))); },
     {Range{-4, 4}}},
    {Opcode::floor,
     "floor",
     1,
     "the largest integer not above x",
     [](const double* x) { return std::floor(x[0]); },
     nullptr,
     {kHalves}},
    {Opcode::round,
     "round",
     1,
     "the nearest integer, ties to even",
     [](const double* x) { return std::nearbyint(x[0]); },
     nullptr,
     {kHalves}},
    {Opcode::erf,
     "erf",
     1,
     "error function of x",
     [](const double* x) { return std::erf(x[0]); },
     [](const GradArgs& a) {
       return chain(a, ops::exp(-ops::square(a.in(0))) * (2 * std::numbers::inv_sqrtpi));
     },
     {Range{-3, 3}}},
    {Opcode::softplus,
     "softplus",
     1,
     "log(1 + e^x)",
     [](const double* x) { return (x[0] < 0 ? 0 : x[0]) + std::log1p(std::exp(-std::fabs(x[0]))); },
     [](const GradArgs& a) { return chain(a, ops::sigmoid(a.in(0))); },
     {Range{-5, 5}}},
    {Opcode::detach, "detach", 1, "x; no gradient flows through it",
     [](const double* x) { return x[0]; }, nullptr},
    // Samples scale by nothing: elsewhere it is not the derivative of a function.
    {Opcode::scale_gradient,
     "scale_gradient",
     2,
     "a, whose gradient g becomes g (1 + b sign(g))",
     [](const double* x) { return x[0]; },
     [](const GradArgs& a) -> Grads {
       return {to_input(a, 0, a.grad() + a.in(1) * ops::abs(a.grad()))};
     },
     {Range{}, Range{0, 0}}},
};

static_assert(std::size(kTable) == kOpcodes);

const Row& row(Opcode code) {
  return kTable[static_cast<std::size_t>(code)];
}

std::vector<TensorType> infer(const InferArgs& args) {
  return infer_broadcast(args, 1);
}

void ref(const RefArgs& args) {
  const auto scalar = args.node.op().scalar;
  for_each_element(args, args.out().type.shape, [&](std::int64_t e, const double* values) {
    args.out().v[static_cast<std::size_t>(e)] = scalar(values);
  });
}

SampleInput sample_input(Rng& rng, const Range& range, const Shape& shape) {
  SampleInput input{{DType::f32, shape, {}}, range.low, range.high};
  if (range.halves) {
    const auto steps = static_cast<std::uint64_t>((range.high - range.low) * 2) + 1;
    for (std::int64_t i = 0; i < shape.numel(); ++i) {
      input.values.push_back(range.low + 0.5 * static_cast<double>(rng.below(steps)));
    }
  }
  return input;
}

// Operand shapes that broadcast in every way the kernels tell apart.
Shape operand_shape(int index, int operand, const Shape& full) {
  if (operand == 0 && index != 5) return full;
  switch (index) {
    case 2:
      return {full[-1]};  // row vector
    case 3:
      return operand == 1 ? Shape{full[0], 1, 1} : Shape{};  // column, scalar
    case 4:
      return {full[0], 1};
    case 5:
      return operand == 0 ? Shape{4, 1, 2, 1} : Shape{3, 1, 5};  // both sides grow
    default:
      return full;
  }
}

template <Opcode code>
std::optional<Sample> sample(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const Row& r = row(code);
  const Shape full = sample_shape(rng, index);
  Sample out;
  for (int i = 0; i < r.arity; ++i) {
    const Shape shape = r.arity == 1 ? full : operand_shape(index, i, full);
    out.inputs.push_back(sample_input(rng, r.range[static_cast<std::size_t>(i)], shape));
  }
  return out;
}

template <Opcode code>
OpDef make() {
  const Row& r = row(code);
  TESSERA_ASSERT(r.code == code);
  OpDef op{.name = r.name,
           .doc = r.doc,
           .infer = infer,
           .grad = r.grad,
           .ref = ref,
           .sample = sample<code>,
           .scalar = r.scalar,
           .rows = elementwise_rows()};
  op.traits = kElementwise;
  if (r.commutative) op.traits |= kCommutative;
  constexpr std::string_view names[][3] = {{"x"}, {"a", "b"}, {"a", "b", "c"}};
  for (int i = 0; i < r.arity; ++i) {
    std::string_view name = names[r.arity - 1][i];
    if (code == Opcode::where)
      name = std::array{"condition", "a", "b"}[static_cast<std::size_t>(i)];
    if (code == Opcode::clamp) name = std::array{"x", "low", "high"}[static_cast<std::size_t>(i)];
    const bool fixed = (code == Opcode::where && i == 0) || (code == Opcode::clamp && i > 0) ||
                       (code == Opcode::scale_gradient && i > 0);
    op.inputs.push_back({.name = name, .differentiable = r.grad != nullptr && !fixed});
  }
  return op;
}

}  // namespace

std::optional<Opcode> opcode_of(const OpDef& op) {
  for (const Row& r : kTable) {
    if (r.name == op.name && r.scalar == op.scalar) return r.code;
  }
  return std::nullopt;
}

std::vector<TensorType> infer_broadcast(const InferArgs& args, std::size_t outputs) {
  args.require(!args.inputs.empty(), "needs an input");
  for (int i = 0; i < static_cast<int>(args.inputs.size()); ++i) args.require_dtype(i, DType::f32);
  Shape shape = args.shape(0);
  for (int i = 1; i < static_cast<int>(args.inputs.size()); ++i) {
    shape = broadcast(shape, args.shape(i), args.op.name);
  }
  return std::vector<TensorType>(outputs, TensorType{DType::f32, shape, {}});
}

std::vector<std::int64_t> broadcast_strides(const Shape& from, const Shape& to) {
  const auto strides = strides_of(from.values());
  std::vector<std::int64_t> out(static_cast<std::size_t>(to.rank()));
  const std::size_t skip = out.size() - strides.size();
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (from.dims()[i].value() != 1) out[skip + i] = strides[i];
  }
  return out;
}

const OpDef kAdd = make<Opcode::add>(), kSub = make<Opcode::sub>(), kMul = make<Opcode::mul>(),
            kDiv = make<Opcode::div>(), kMaximum = make<Opcode::maximum>(),
            kMinimum = make<Opcode::minimum>(), kPow = make<Opcode::pow>(),
            kGreater = make<Opcode::greater>(), kGreaterEqual = make<Opcode::greater_equal>(),
            kEqual = make<Opcode::equal>(), kWhere = make<Opcode::where>(),
            kClamp = make<Opcode::clamp>(), kNeg = make<Opcode::neg>(), kAbs = make<Opcode::abs>(),
            kSqrt = make<Opcode::sqrt>(), kRsqrt = make<Opcode::rsqrt>(),
            kSquare = make<Opcode::square>(), kExp = make<Opcode::exp>(),
            kLog = make<Opcode::log>(), kTanh = make<Opcode::tanh>(),
            kSigmoid = make<Opcode::sigmoid>(), kRelu = make<Opcode::relu>(),
            kSign = make<Opcode::sign>(), kSin = make<Opcode::sin>(), kCos = make<Opcode::cos>(),
            kFloor = make<Opcode::floor>(), kRound = make<Opcode::round>(),
            kErf = make<Opcode::erf>(), kSoftplus = make<Opcode::softplus>(),
            kDetach = make<Opcode::detach>(), kScaleGradient = make<Opcode::scale_gradient>();

}  // namespace tessera
