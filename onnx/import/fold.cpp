#include "onnx/import/fold.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace tessera::onnx {

namespace {

// numpy's broadcasting of constants: for each element of the result, which one of `from` it reads.
Ints broadcast_source(const Ints& from, const Ints& to) {
  std::int64_t n = 1;
  for (const std::int64_t d : to) n *= d;
  check(n <= kMostSmall, "shape arithmetic on ", n, " numbers, more than ", kMostSmall);
  Ints out(static_cast<std::size_t>(n));
  const std::size_t ahead = to.size() - from.size();
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t rest = i, at = 0, stride = 1;
    for (std::size_t axis = to.size(); axis-- > 0;) {
      const std::int64_t place = rest % to[axis];
      rest /= to[axis];
      if (axis < ahead) continue;
      const std::int64_t own = from[axis - ahead];
      if (own != 1) at += place * stride;
      stride *= own;
    }
    out[static_cast<std::size_t>(i)] = at;
  }
  return out;
}

// The batch in shape arithmetic: n + 0, n * k, n / k, and comparisons with itself.
Dim with_batch(std::string_view op, Dim a, Dim b) {
  if (op == "Mul" && !(a.is_symbolic() && b.is_symbolic())) return a * b;
  if (op == "Add" && a == Dim(0)) return b;
  if ((op == "Add" || op == "Sub") && b == Dim(0)) return a;
  if (op == "Div" && a.is_symbolic() && !b.is_symbolic() && b.factor() != 0 &&
      a.factor() % b.factor() == 0)
    return Dim::symbolic(a.factor() / b.factor());
  if (op == "Div" && a.is_symbolic() && b.is_symbolic() && b.factor() != 0 &&
      a.factor() % b.factor() == 0)
    return a.factor() / b.factor();
  if (op == "Equal") return a == b ? 1 : 0;
  fail("the size ", a.is_symbolic() ? a.text() : b.text(), " in ", op,
       ": what becomes of a batch of any size is not known");
}

std::int64_t integer_of(std::string_view op, std::int64_t a, std::int64_t b) {
  const auto wrapped = [](std::uint64_t v) { return static_cast<std::int64_t>(v); };
  const auto ua = static_cast<std::uint64_t>(a), ub = static_cast<std::uint64_t>(b);
  if (op == "Add") return wrapped(ua + ub);
  if (op == "Sub") return wrapped(ua - ub);
  if (op == "Mul") return wrapped(ua * ub);
  check(b != 0 && !(b == -1 && a == std::numeric_limits<std::int64_t>::min()),
        "an integer is divided by 0");
  if (op == "Div") return a / b;
  const std::int64_t rest = a % b;  // Mod: the divisor's sign
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

bool is_arithmetic(std::string_view op) {
  return op == "Add" || op == "Sub" || op == "Mul" || op == "Div" || op == "Mod";
}

}  // namespace

void fold(Context& c, Function function, bool gives_truth) {
  std::vector<Small> in;
  Shape shape;
  for (std::size_t i = 0; i < c.inputs(); ++i) {
    in.push_back(c.small(i));
    shape = broadcast(shape, Shape::of(in.back().shape), c.node.op);
  }
  const std::string_view op = c.node.op;
  // Powers may be of another type.
  for (std::size_t i = op == "Where" ? 2 : 1; i < in.size() && op != "Pow"; ++i) {
    check(is_float(in[i].type) == is_float(in[i - 1].type), "operands of ", name(in[i - 1].type),
          " and ", name(in[i].type));
  }
  Small out{.type = gives_truth     ? ElementType::boolean
                    : op == "Where" ? in[1].type
                                    : in[0].type,
            .shape = shape.values()};
  for (Small& one : in) one = picked(one, out.shape, broadcast_source(one.shape, out.shape));
  for (std::size_t i = 0; i < in[0].size(); ++i) {
    const bool whole = !is_float(in[0].type);
    const bool symbolic = std::ranges::any_of(
        in, [&](const Small& s) { return !is_float(s.type) && s.ints[i].is_symbolic(); });
    if (op == "Where") {
      const Small& from = in[truth(in[0].real(i)) ? 1 : 2];
      is_float(out.type) ? out.reals.push_back(from.real(i)) : out.ints.push_back(from.ints[i]);
    } else if (whole && symbolic) {
      check(in.size() == 2 && !is_float(in[1].type), "the size of the batch in ", op,
            " is not known");
      out.ints.push_back(with_batch(op, in[0].ints[i], in[1].ints[i]));
    } else if (whole && in.size() == 2 && is_arithmetic(op)) {
      out.ints.push_back(integer_of(op, in[0].integer(i), in[1].integer(i)));
    } else {
      std::vector<double> arguments;
      for (const Small& one : in) arguments.push_back(one.real(i));
      const double value = function(arguments.data());
      if (is_float(out.type)) {
        out.reals.push_back(value);
      } else {
        check(std::fabs(value) < 9.2e18, op, " of integers gives ", value);
        out.ints.emplace_back(static_cast<std::int64_t>(value));
      }
    }
  }
  c.out(0, std::move(out));
}

}  // namespace tessera::onnx
