// Sums and the like over axes, softmax, and what normalizes by moments.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "onnx/import/context.h"
#include "onnx/import/positions.h"
#include "ops/build.h"

namespace tessera::onnx {

namespace {

struct Reduction {
  Ints axes = {};
  bool keep = true;
};

// Version from which the axes are an operand.
Reduction reduction_of(Context& c, std::int64_t since) {
  const int rank = c.in(0).shape().rank();
  const auto given = c.opset() < since ? c.list("axes") : c.list("axes", 1);
  Reduction out{.keep = c.integer("keepdims", 1) != 0};
  const bool all = !given || given->empty();
  if (all && c.integer("noop_with_empty_axes", 0) != 0) return out;
  out.axes.resize(static_cast<std::size_t>(rank));
  std::iota(out.axes.begin(), out.axes.end(), 0);
  if (!all) out.axes = axes_of(*given, rank);
  return out;
}

// Of constants: shape arithmetic multiplies sizes.
void fold(Context& c, const Reduction& r, double start, double (*function)(double, double)) {
  const Small from = c.small(0);
  Ints kept = from.shape, shape;
  for (const std::int64_t axis : r.axes) kept[static_cast<std::size_t>(axis)] = 1;
  std::vector<double> values(static_cast<std::size_t>(Shape::of(kept).numel()), start);
  Dim times = 1;  // of a product with the batch in it
  std::size_t i = 0;
  positions(from.shape, [&](std::span<const std::int64_t> index) {
    Ints own(index.begin(), index.end());
    for (std::size_t a = 0; a < own.size(); ++a) own[a] = kept[a] == 1 ? 0 : own[a];
    double& value = values[static_cast<std::size_t>(place_of(own, kept))];
    if (c.node.op == "ReduceProd" && values.size() == 1 && !is_float(from.type)) {
      times = times * from.ints[i];
    } else {
      value = function(value, from.real(i));
    }
    ++i;
    return std::int64_t{0};
  });
  for (std::size_t a = 0; a < kept.size(); ++a) {
    const bool gone = std::ranges::find(r.axes, static_cast<std::int64_t>(a)) != r.axes.end();
    if (!gone || r.keep) shape.push_back(kept[a]);
  }
  Small out{.type = from.type, .shape = shape};
  for (const double v : values) {
    if (is_float(from.type)) {
      out.reals.push_back(v);
    } else {
      check(std::fabs(v) < 9e15, "a reduction of integers gives ", v);
      out.ints.push_back(c.node.op == "ReduceProd" && values.size() == 1
                             ? times
                             : Dim(static_cast<std::int64_t>(v)));
    }
  }
  c.out(0, std::move(out));
}

template <class Build>
void reduce(Context& c, std::int64_t since, Build build) {
  const Value x = c.real(0);
  const Reduction r = reduction_of(c, since);
  c.out(0, build(x, r.axes, r.keep));
}

Value sum(Value x, const Ints& axes, bool keep) {
  return axes.empty() ? x : ops::sum(x, axes, keep);
}
Value greatest(Value x, const Ints& axes, bool keep) {
  return axes.empty() ? x : ops::max(x, axes, keep);
}

void softmax(Context& c, Value (*build)(Value, int)) {
  const Value x = c.real(0);
  const Shape& shape = x.shape();
  if (c.opset() >= 13) return c.out(0, build(x, axis_of(c.integer("axis", -1), shape.rank())));
  // Older versions: all axes from this one on together.
  const int axis = axis_of(c.integer("axis", 1), shape.rank());
  const Value rows = ops::reshape(x, {joined(shape, 0, axis), joined(shape, axis, shape.rank())});
  c.out(0, ops::reshape(build(rows, 1), shape));
}

void arg(Context& c, bool least) {
  const Value x = c.real(0);
  check(c.integer("select_last_index", 0) == 0, "select_last_index");
  const int axis = axis_of(c.integer("axis", 0), x.shape().rank());
  Value y = ops::cast(ops::argmax(least ? -x : x, axis), DType::s64);
  if (c.integer("keepdims", 1) != 0) {
    Shape shape = x.shape();
    shape[axis] = 1;
    y = ops::reshape(y, shape);
  }
  c.out(0, y, ElementType::s64);
}

// Ba, Kiros & Hinton 2016: over all axes from `axis` on.
void layer_norm(Context& c) {
  const Value x = c.real(0);
  const int rank = x.shape().rank(), axis = axis_of(c.integer("axis", -1), rank);
  Ints axes;
  for (int i = axis; i < rank; ++i) axes.push_back(i);
  const Value mean = ops::mean(x, axes, true), away = x - mean;
  const Value inverse =
      ops::rsqrt(ops::mean(ops::square(away), axes, true) + c.number("epsilon", 1e-5));
  Value y = away * inverse * c.weight(1);
  if (c.has(2)) y = y + c.weight(2);
  check(y.shape() == x.shape(), "a scale or bias is larger than the value ", x.shape());
  c.out(0, y);
  c.out(1, mean);
  c.out(2, inverse);
}

// Wu & He 2018: groups of channels of one sample.
void group_norm(Context& c) {
  const Value x = c.real(0);
  const Shape& shape = x.shape();
  const std::int64_t groups = c.integer("num_groups", 0);
  check(shape.rank() >= 3 && !shape[1].is_symbolic() && groups >= 1 && groups <= kMaxDim &&
            shape[1].value() % groups == 0,
        shape.text(), " in ", groups, " groups");
  const std::int64_t each = shape[1].value() / groups;
  std::vector<Dim> dims = shape.dims();
  dims[1] = groups;
  dims.insert(dims.begin() + 2, Dim(each));
  const Value apart = ops::reshape(x, Shape(dims));
  Ints axes;
  for (int i = 2; i < apart.shape().rank(); ++i) axes.push_back(i);
  const Value away = apart - ops::mean(apart, axes, true);
  const Value normal =
      away * ops::rsqrt(ops::mean(ops::square(away), axes, true) + c.number("epsilon", 1e-5));
  const auto spread = [&](Value v) {  // of a channel, or of a group in version 18
    const bool channels = v.shape() == Shape{shape[1]};
    check(channels || v.shape() == Shape{groups}, "a scale or bias ", v.shape());
    Shape to = channels ? Shape{groups, each} : Shape{groups, 1};
    for (int i = 2; i < shape.rank(); ++i) to.push_back(1);
    return ops::reshape(v, to);
  };
  c.out(0, ops::reshape(normal * spread(c.weight(1)) + spread(c.weight(2)), shape));
}

void mean_variance(Context& c) {
  const Value x = c.real(0);
  const Ints axes = axes_of(c.list("axes").value_or(Ints{0, 2, 3}), x.shape().rank());
  const Value away = x - ops::mean(x, axes, true);
  c.out(0, away / (ops::sqrt(ops::mean(ops::square(away), axes, true)) + 1e-9));
}

void lp_norm(Context& c) {
  const Value x = c.real(0);
  const int axis = axis_of(c.integer("axis", -1), x.shape().rank());
  const std::int64_t p = c.integer("p", 2);
  check(p == 1 || p == 2, "p ", p);
  const Value length = p == 1 ? ops::sum(ops::abs(x), {axis}, true)
                              : ops::sqrt(ops::sum(ops::square(x), {axis}, true));
  c.out(0, x / length);
}

constexpr OpRow kRows[] = {
    {"ReduceSum",
     [](Context& c) {
       if (c.known(0)) {
         return fold(c, reduction_of(c, 13), 0, [](double a, double b) { return a + b; });
       }
       reduce(c, 13, sum);
     }},
    {"ReduceMean",
     [](Context& c) {
       reduce(c, 18, [](Value x, const Ints& axes, bool keep) {
         return axes.empty() ? x : ops::mean(x, axes, keep);
       });
     }},
    {"ReduceMax",
     [](Context& c) {
       if (c.known(0)) {
         return fold(c, reduction_of(c, 18), -INFINITY,
                     [](double a, double b) { return std::max(a, b); });
       }
       reduce(c, 18, greatest);
     }},
    {"ReduceMin",
     [](Context& c) {
       if (c.known(0)) {
         return fold(c, reduction_of(c, 18), INFINITY,
                     [](double a, double b) { return std::min(a, b); });
       }
       reduce(c, 18,
              [](Value x, const Ints& axes, bool keep) { return -greatest(-x, axes, keep); });
     }},
    {"ReduceProd",
     [](Context& c) {
       check(c.known(0), "a product of values known at run time only");
       fold(c, reduction_of(c, 18), 1, [](double a, double b) { return a * b; });
     }},
    {"ReduceL1",
     [](Context& c) {
       reduce(c, 18,
              [](Value x, const Ints& axes, bool keep) { return sum(ops::abs(x), axes, keep); });
     }},
    {"ReduceL2",
     [](Context& c) {
       reduce(c, 18, [](Value x, const Ints& axes, bool keep) {
         return ops::sqrt(sum(ops::square(x), axes, keep));
       });
     }},
    {"ReduceSumSquare",
     [](Context& c) {
       reduce(c, 18,
              [](Value x, const Ints& axes, bool keep) { return sum(ops::square(x), axes, keep); });
     }},
    {"ReduceLogSum",
     [](Context& c) {
       reduce(c, 18,
              [](Value x, const Ints& axes, bool keep) { return ops::log(sum(x, axes, keep)); });
     }},
    {"ReduceLogSumExp",
     [](Context& c) {
       reduce(c, 18, [](Value x, const Ints& axes, bool keep) {
         const Value top = greatest(x, axes, true);
         const Value rest = ops::log(sum(ops::exp(x - top), axes, true)) + top;
         return keep ? rest : ops::reshape(rest, greatest(x, axes, false).shape());
       });
     }},
    {"Softmax", [](Context& c) { softmax(c, ops::softmax); }},
    {"LogSoftmax", [](Context& c) { softmax(c, ops::log_softmax); }},
    {"ArgMax", [](Context& c) { arg(c, false); }},
    {"ArgMin", [](Context& c) { arg(c, true); }},
    {"LayerNormalization", layer_norm},
    {"GroupNormalization", group_norm},
    {"MeanVarianceNormalization", mean_variance},
    {"LpNormalization", lp_norm},
};

}  // namespace

std::span<const OpRow> reduce_rows() {
  return kRows;
}

}  // namespace tessera::onnx
