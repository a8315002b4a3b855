// Arithmetic, comparisons and activation functions: as operators of the graph, or, where all
// operands are known and small, done now (fold.h).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.h"
#include "onnx/import/context.h"
#include "onnx/import/fold.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Before version 7 the second operand lay along an axis that was named.
void require_broadcast_from_the_end(const Context& c) {
  c.find("broadcast");
  check(c.find("axis") == nullptr, "operands that meet along a given axis, as before version 7");
}

// ---- one operator, known operands or not ----

template <Function function, class Build>
void unary(Context& c, Build build) {
  if (c.all_constant()) return fold(c, function, false);
  c.out(0, build(c.real(0)));
}
template <Function function, class Build>
void binary(Context& c, Build build, bool gives_truth = false) {
  check(c.inputs() == 2, "expected 2 operands, got ", c.inputs());
  require_broadcast_from_the_end(c);
  if (c.all_constant()) return fold(c, function, gives_truth);
  c.out(0, build(c.real(0), c.real(1)), gives_truth ? ElementType::boolean : c.in(0).type);
}
// Of any number of operands, two at a time.
template <class Build>
void variadic(Context& c, Build build) {
  check(c.inputs() >= 1, "expected an operand");
  Value out = c.real(0);
  for (std::size_t i = 1; i < c.inputs(); ++i) out = build(out, c.real(i));
  c.out(0, out);
}

double add(const double* a) {
  return a[0] + a[1];
}
double sub(const double* a) {
  return a[0] - a[1];
}
double mul(const double* a) {
  return a[0] * a[1];
}
double div(const double* a) {
  return a[0] / a[1];
}
double mod(const double* a) {
  return std::fmod(a[0], a[1]);
}
double pow(const double* a) {
  return std::pow(a[0], a[1]);
}
double least(const double* a) {
  return std::min(a[0], a[1]);
}
double most(const double* a) {
  return std::max(a[0], a[1]);
}
double neg(const double* a) {
  return -a[0];
}
double abs(const double* a) {
  return std::fabs(a[0]);
}
double sqrt(const double* a) {
  return std::sqrt(a[0]);
}
double exp(const double* a) {
  return std::exp(a[0]);
}
double log(const double* a) {
  return std::log(a[0]);
}
double floor(const double* a) {
  return std::floor(a[0]);
}
double ceil(const double* a) {
  return std::ceil(a[0]);
}
double round(const double* a) {
  return std::nearbyint(a[0]);
}
double reciprocal(const double* a) {
  return 1 / a[0];
}
double sign(const double* a) {
  return a[0] > 0 ? 1 : a[0] < 0 ? -1 : 0;
}
double negated(const double* a) {
  return a[0] == 0 ? 1 : 0;
}
double equal(const double* a) {
  return a[0] == a[1] ? 1 : 0;
}
double greater(const double* a) {
  return a[0] > a[1] ? 1 : 0;
}
double greater_equal(const double* a) {
  return a[0] >= a[1] ? 1 : 0;
}
double less(const double* a) {
  return a[0] < a[1] ? 1 : 0;
}
double less_equal(const double* a) {
  return a[0] <= a[1] ? 1 : 0;
}
double conjunction(const double* a) {
  return truth(a[0]) && truth(a[1]) ? 1 : 0;
}
double disjunction(const double* a) {
  return truth(a[0]) || truth(a[1]) ? 1 : 0;
}
double exclusive(const double* a) {
  return truth(a[0]) != truth(a[1]) ? 1 : 0;
}

void where(Context& c) {
  check(c.inputs() == 3, "expected 3 operands, got ", c.inputs());
  if (c.all_constant())
    return fold(
        c, [](const double*) { return 0.0; }, false);
  c.out(0, ops::where(c.real(0), c.real(1), c.real(2)), c.in(1).type);
}

void clip(Context& c) {
  Value x = c.real(0);
  if (c.opset() < 11) {
    x = ops::maximum(x, c.number("min", -kInfinity));
    x = ops::minimum(x, c.number("max", kInfinity));
    return c.out(0, x);
  }
  if (c.has(1)) x = ops::maximum(x, c.real(1));
  if (c.has(2)) x = ops::minimum(x, c.real(2));
  c.out(0, x);
}

Value elu(Value x, double alpha) {
  return ops::where(ops::greater(x, 0.0), x, (ops::exp(ops::minimum(x, 0.0)) - 1.0) * alpha);
}
Value hard_sigmoid(Value x, double alpha, double beta) {
  return ops::clamp(x * alpha + beta, 0.0, 1.0);
}

// Slopes are trained, one for all channels as well.
void prelu(Context& c) {
  require_broadcast_from_the_end(c);
  const Value x = c.real(0), slope = c.in(1).initializer ? c.weight(1) : c.real(1);
  c.out(0, ops::where(ops::greater(x, 0.0), x, x * slope));
}

void mod_of(Context& c) {
  check(c.inputs() == 2, "expected 2 operands, got ", c.inputs());
  const bool truncates = c.integer("fmod", 0) != 0;
  if (c.all_constant() && !(truncates && !is_float(c.in(0).type))) return fold(c, mod, false);
  const Value a = c.real(0), b = c.real(1), ratio = a / b;
  const Value whole =
      truncates ? ops::sign(ratio) * ops::floor(ops::abs(ratio)) : ops::floor(ratio);
  c.out(0, a - whole * b);
}

void gelu(Context& c) {
  const Value x = c.real(0);
  if (c.text("approximate", "none") == "none") return c.out(0, ops::gelu(x));
  const Value inner = (x + x * x * x * 0.044715) * std::sqrt(2 / std::numbers::pi);
  c.out(0, x * 0.5 * (ops::tanh(inner) + 1.0));
}

// Casts of what is known are exact; of values: between reals and truth, and integers of inputs.
void cast(Context& c) {
  const auto to = static_cast<ElementType>(c.integer("to", 0));
  check(bits_of(to) != 0, "a cast to ", name(to));
  const Item& in = c.in(0);
  if (c.all_constant()) {
    Small from = c.small(0), out{.type = to, .shape = from.shape};
    for (std::size_t i = 0; i < from.size(); ++i) {
      const bool whole = !is_float(from.type);
      if (is_float(to)) {
        out.reals.push_back(to == ElementType::f64 ? from.real(i)
                                                   : static_cast<float>(from.real(i)));
      } else if (to == ElementType::boolean) {
        out.ints.emplace_back(whole && from.ints[i].is_symbolic() ? 1 : truth(from.real(i)));
      } else if (whole) {
        out.ints.push_back(from.ints[i]);
      } else {
        check(std::fabs(from.reals[i]) < 9.2e18, "a cast of ", from.reals[i], " to ", name(to));
        out.ints.emplace_back(static_cast<std::int64_t>(from.reals[i]));
      }
    }
    return c.out(0, std::move(out));
  }
  const Value x = c.any(0);
  const bool real = x.type().dtype == DType::f32;
  if (to == ElementType::boolean) {
    const Value f = real ? x : ops::cast(x, DType::f32);
    return c.out(0, in.type == to ? f : 1.0 - ops::equal(f, 0.0), to);
  }
  if (is_float(to)) {
    Value f = real ? x : ops::cast(x, DType::f32);
    if (to == ElementType::bf16) f = ops::cast(ops::cast(f, DType::bf16), DType::f32);
    // What a half cannot hold is not lost here.
    if (to == ElementType::f16) c.note(cat("casts to ", name(to), " keep f32"));
    return c.out(0, f, to);
  }
  const auto dtype = to == ElementType::s64   ? DType::s64
                     : to == ElementType::s32 ? DType::s32
                     : to == ElementType::u8  ? DType::u8
                     : to == ElementType::s8  ? std::optional(DType::s8)
                                              : std::nullopt;
  check(dtype.has_value(), "a cast to ", name(to), " at run time");
  check(!(to == ElementType::u8 || to == ElementType::s8) || in.type == ElementType::boolean,
        "a cast to ", name(to), " at run time");
  c.out(0, x.type().dtype == *dtype ? x : ops::cast(x, *dtype), to);
}

void dropout(Context& c) {
  c.find("ratio");
  check(!c.has(2) || c.scalar(2).value_or(1) == 0, "dropout in training mode");
  c.out(0, c.in(0));
  if (!c.wants(1)) return;
  const Value x = c.real(0);
  c.out(1, ops::equal(x * 0.0, 0.0), ElementType::boolean);
}

void identity(Context& c) {
  c.out(0, c.in(0));
}

constexpr OpRow kRows[] = {
    {"Add", [](Context& c) { binary<add>(c, [](Value a, Value b) { return a + b; }); }},
    {"Sub", [](Context& c) { binary<sub>(c, [](Value a, Value b) { return a - b; }); }},
    {"Mul", [](Context& c) { binary<mul>(c, [](Value a, Value b) { return a * b; }); }},
    {"Div", [](Context& c) { binary<div>(c, [](Value a, Value b) { return a / b; }); }},
    {"Pow",
     [](Context& c) {
       require_broadcast_from_the_end(c);
       if (c.all_constant()) return fold(c, pow, false);
       const Value x = c.real(0);
       const auto power = c.scalar(1);
       c.out(0, power == 2.0    ? ops::square(x)
                : power == 0.5  ? ops::sqrt(x)
                : power == 1.0  ? x
                : power == -1.0 ? 1.0 / x
                                : ops::pow(x, c.in(1).kind == Item::Kind::value &&
                                                      c.in(1).value.type().dtype != DType::f32
                                                  ? ops::cast(c.in(1).value, DType::f32)
                                              : power ? ops::Arg(*power)
                                                      : ops::Arg(c.real(1))));
     }},
    {"Mod", mod_of},
    {"Neg", [](Context& c) { unary<neg>(c, ops::neg); }},
    {"Abs", [](Context& c) { unary<abs>(c, ops::abs); }},
    {"Sqrt", [](Context& c) { unary<sqrt>(c, ops::sqrt); }},
    {"Exp", [](Context& c) { unary<exp>(c, ops::exp); }},
    {"Log", [](Context& c) { unary<log>(c, ops::log); }},
    {"Floor", [](Context& c) { unary<floor>(c, ops::floor); }},
    {"Ceil", [](Context& c) { unary<ceil>(c, [](Value x) { return -ops::floor(-x); }); }},
    {"Round", [](Context& c) { unary<round>(c, ops::round); }},
    {"Reciprocal", [](Context& c) { unary<reciprocal>(c, [](Value x) { return 1.0 / x; }); }},
    {"Sign", [](Context& c) { unary<sign>(c, ops::sign); }},
    {"Sin", [](Context& c) { c.out(0, ops::sin(c.real(0))); }},
    {"Cos", [](Context& c) { c.out(0, ops::cos(c.real(0))); }},
    {"Tan", [](Context& c) { c.out(0, ops::sin(c.real(0)) / ops::cos(c.real(0))); }},
    {"Sinh",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, (ops::exp(x) - ops::exp(-x)) * 0.5);
     }},
    {"Cosh",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, (ops::exp(x) + ops::exp(-x)) * 0.5);
     }},
    {"Erf", [](Context& c) { c.out(0, ops::erf(c.real(0))); }},
    {"Min",
     [](Context& c) {
       if (c.all_constant() && c.inputs() == 2) return fold(c, least, false);
       variadic(c, [](Value a, Value b) { return ops::minimum(a, b); });
     }},
    {"Max",
     [](Context& c) {
       if (c.all_constant() && c.inputs() == 2) return fold(c, most, false);
       variadic(c, [](Value a, Value b) { return ops::maximum(a, b); });
     }},
    {"Sum", [](Context& c) { variadic(c, [](Value a, Value b) { return a + b; }); }},
    {"Mean",
     [](Context& c) {
       const double n = static_cast<double>(c.inputs());
       Value sum = c.real(0);
       for (std::size_t i = 1; i < c.inputs(); ++i) sum = sum + c.real(i);
       c.out(0, sum / n);
     }},
    {"Not",
     [](Context& c) {
       if (c.all_constant()) return fold(c, negated, true);
       c.out(0, ops::equal(c.real(0), 0.0), ElementType::boolean);
     }},
    {"Equal",
     [](Context& c) {
       binary<equal>(
           c, [](Value a, Value b) { return ops::equal(a, b); }, true);
     }},
    {"Greater",
     [](Context& c) {
       binary<greater>(
           c, [](Value a, Value b) { return ops::greater(a, b); }, true);
     }},
    {"GreaterOrEqual",
     [](Context& c) {
       binary<greater_equal>(
           c, [](Value a, Value b) { return ops::greater_equal(a, b); }, true);
     }},
    {"Less",
     [](Context& c) {
       binary<less>(
           c, [](Value a, Value b) { return ops::greater(b, a); }, true);
     }},
    {"LessOrEqual",
     [](Context& c) {
       binary<less_equal>(
           c, [](Value a, Value b) { return ops::greater_equal(b, a); }, true);
     }},
    {"And",
     [](Context& c) {
       binary<conjunction>(
           c, [](Value a, Value b) { return a * b; }, true);
     }},
    {"Or",
     [](Context& c) {
       binary<disjunction>(
           c, [](Value a, Value b) { return ops::maximum(a, b); }, true);
     }},
    {"Xor",
     [](Context& c) {
       binary<exclusive>(
           c, [](Value a, Value b) { return ops::abs(a - b); }, true);
     }},
    {"Where", where},
    {"Clip", clip},
    {"Cast", cast},
    {"Relu", [](Context& c) { c.out(0, ops::relu(c.real(0))); }},
    {"LeakyRelu",
     [](Context& c) {
       // Slopes above 1 and below 0, too, for which max(x, slope x) is another function.
       const Value x = c.real(0);
       const double slope = c.number("alpha", 0.01);
       c.out(0, slope >= 0 && slope <= 1 ? ops::leaky_relu(x, slope)
                                         : ops::where(ops::greater(x, 0.0), x, x * slope));
     }},
    {"PRelu", prelu},
    {"Sigmoid", [](Context& c) { c.out(0, ops::sigmoid(c.real(0))); }},
    {"Tanh", [](Context& c) { c.out(0, ops::tanh(c.real(0))); }},
    {"Softplus", [](Context& c) { c.out(0, ops::softplus(c.real(0))); }},
    {"Softsign",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, x / (ops::abs(x) + 1.0));
     }},
    {"Elu", [](Context& c) { c.out(0, elu(c.real(0), c.number("alpha", 1))); }},
    {"Celu",
     [](Context& c) {
       const double alpha = c.number("alpha", 1);
       check(alpha != 0, "alpha must not be 0");
       const Value x = c.real(0);
       c.out(0,
             ops::maximum(x, 0.0) +
                 ops::minimum((ops::exp(ops::minimum(x * (1 / alpha), 0.0)) - 1.0) * alpha, 0.0));
     }},
    {"Selu",
     [](Context& c) {
       const double alpha = c.number("alpha", 1.67326319217681884765625);
       c.out(0, elu(c.real(0), alpha) * c.number("gamma", 1.05070102214813232421875));
     }},
    {"HardSigmoid",
     [](Context& c) {
       c.out(0, hard_sigmoid(c.real(0), c.number("alpha", 0.2), c.number("beta", 0.5)));
     }},
    {"HardSwish",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, x * hard_sigmoid(x, 1.0 / 6, 0.5));
     }},
    {"Mish",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, x * ops::tanh(ops::softplus(x)));
     }},
    {"ThresholdedRelu",
     [](Context& c) {
       const Value x = c.real(0);
       c.out(0, ops::where(ops::greater(x, c.number("alpha", 1)), x, 0.0));
     }},
    {"Shrink",
     [](Context& c) {
       const Value x = c.real(0);
       const double lambd = c.number("lambd", 0.5), bias = c.number("bias", 0);
       c.out(0, ops::where(ops::greater(x, lambd), x - bias,
                           ops::where(ops::greater(-lambd, x), x + bias, 0.0)));
     }},
    {"Gelu", gelu},
    {"Dropout", dropout},
    {"Identity", identity},
};

}  // namespace

std::span<const OpRow> elementwise_rows() {
  return kRows;
}

}  // namespace tessera::onnx
