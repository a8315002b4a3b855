// All elementwise ops, from their table. out[i] = f(a[i], b[i], ...) in f32 after numpy
// broadcasting; the gradient of a broadcast operand is summed back to its shape. Gradients use the
// op's OUTPUT where that is enough (tanh: 1 - y^2, relu: y > 0), so that its input need not be kept
// for the backward.
#include "ops/elementwise/elementwise.h"

#include <array>
#include <cmath>
#include <numbers>

#include "ops/elementwise/formulas-inl.h"
#include "ops/op_common.h"
#include "ops/op_list.h"

namespace tessera {

namespace {

using Grads = std::vector<Value>;

// Where a sample takes the values of one operand from.
struct Draw {
  double low = -1, high = 1;
  bool halves = false;    // only multiples of 0.5, so that ties and equal operands occur
  bool constant = false;  // no gradient flows to the operand
};
constexpr Draw kHalves{-3, 3, true};

struct Derivative {
  Grads (*grad)(const GradArgs&) = nullptr;  // null: zero almost everywhere
  std::array<Draw, 3> draws = {};
};

struct Row {
  Opcode code;
  std::string_view name;
  std::vector<std::string_view> operands;
  std::string_view doc;
  std::uint32_t traits;
  double (*scalar)(const double*);
  Derivative derivative;
};

// The cotangent that `make` makes, of the output's shape, as one of input i, where that is wanted.
template <class Make>
Value to_input(const GradArgs& args, int i, Make&& make) {
  return args.wants(i) ? ops::sum_to(make(), args.in(i).shape()) : Value();
}

// For one-input ops: dy times a factor.
Grads chain(const GradArgs& args, Value factor) {
  return {args.grad() * factor};
}

const std::vector<Row>& table() {
  static const std::vector<Row> rows = {
#define ELEMENTWISE_1(NAME, OP, X, DOC, TRAITS, PLAIN, LANES, ...)  \
  {Opcode::NAME, #NAME, {#X}, DOC, TRAITS, [](const double* x) { return NAME##_formula(x[0]); }, \
   __VA_ARGS__},
#define ELEMENTWISE_2(NAME, OP, A, B, DOC, TRAITS, PLAIN, LANES, ...) \
  {Opcode::NAME, #NAME,  {#A, #B},                                    \
   DOC,          TRAITS, [](const double* x) { return NAME##_formula(x[0], x[1]); },                     \
   __VA_ARGS__},
#define ELEMENTWISE_3(NAME, OP, A, B, C, DOC, TRAITS, PLAIN, LANES, ...) \
  {Opcode::NAME, #NAME,  {#A, #B, #C},                                   \
   DOC,          TRAITS, [](const double* x) { return NAME##_formula(x[0], x[1], x[2]); },                        \
   __VA_ARGS__},
#include "ops/elementwise/table.inc"
  };
  return rows;
}

const Row& row(Opcode code) {
  return table()[static_cast<std::size_t>(code)];
}

std::vector<TensorType> infer(const InferArgs& args) {
  return infer_broadcast(args, 1);
}

void ref(const RefArgs& args) {
  const auto scalar = args.node.op().scalar;
  for_each_element(args.inputs, args.out().type.shape, [&](std::int64_t e, const double* values) {
    args.out().v[static_cast<std::size_t>(e)] = scalar(values);
  });
}

SampleInput sample_input(Rng& rng, const Draw& range, const Shape& shape) {
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
  for (std::size_t i = 0; i < r.operands.size(); ++i) {
    const Shape shape =
        r.operands.size() == 1 ? full : operand_shape(index, static_cast<int>(i), full);
    out.inputs.push_back(sample_input(rng, r.derivative.draws[i], shape));
  }
  return out;
}

template <Opcode code>
OpDef make() {
  const Row& r = row(code);
  TESSERA_ASSERT(r.code == code);
  OpDef op{.name = r.name,
           .doc = r.doc,
           .traits = kElementwise | r.traits,
           .infer = infer,
           .grad = r.derivative.grad,
           .ref = ref,
           .sample = sample<code>,
           .scalar = r.scalar,
           .rows = elementwise_rows()};
  for (std::size_t i = 0; i < r.operands.size(); ++i) {
    const bool flows = op.grad != nullptr && !r.derivative.draws[i].constant;
    op.inputs.push_back({.name = r.operands[i], .differentiable = flows});
  }
  return op;
}

}  // namespace

std::optional<Opcode> opcode_of(const OpDef& op) {
  for (const Row& r : table()) {
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

#define ELEMENTWISE(NAME, OP) const OpDef OP = make<Opcode::NAME>();
#include "ops/elementwise/table.inc"

}  // namespace tessera
