// Reductions of f32 over axes. sum, max {axes, keep}: empty axes means all. sum_to {shape} sums x
// down to a shape that broadcasts to its own (the gradient of broadcasting); broadcast_to {shape}
// is its inverse. count {axes} is the number of elements that one result stands for, known once
// shapes are bound: mean is sum / count, which keeps a symbolic batch exact. Accumulators:
// reduce_rows.cpp.
#include <cmath>
#include <limits>

#include "ops/elementwise/elementwise.h"
#include "ops/layout/layout.h"
#include "ops/movement/copy.h"
#include "ops/norm/plane_sums.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/reduce/reduce_rows.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

Ints axes_of(const Attrs& attrs, const Shape& shape, std::string_view op) {
  return normalize_axes(op, attrs.integers("axes"), shape);
}
Ints axes_of(const Node& node) {
  return axes_of(node.attrs(), node.input(0).shape(), node.op().name);
}

// Axes of `from` that a sum down to `to` removes or shrinks to 1.
Ints shrunk_axes(const Shape& from, const Shape& to) {
  Ints axes;
  const int skip = from.rank() - to.rank();
  for (int i = 0; i < from.rank(); ++i) {
    if (i < skip || (to[i - skip].is_one() && !from[i].is_one())) axes.push_back(i);
  }
  return axes;
}

std::vector<TensorType> infer_reduce(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  const Ints axes = axes_of(args.attrs, args.shape(0), args.op.name);
  if (&args.op == &kMax) {
    for (const auto axis : axes) {
      args.require(args.shape(0)[static_cast<int>(axis)].factor() > 0, "axis ", axis, " of ",
                   args.in(0), " is empty");
    }
  }
  return {{DType::f32, reduced_shape(args.shape(0), axes, args.attrs.boolean("keep")), {}}};
}

// Index of the output element that input element e belongs to.
std::vector<std::int64_t> targets(const Shape& shape, const Ints& axes) {
  const Shape kept = reduced_shape(shape, axes, true);
  const auto strides = broadcast_strides(kept, shape);
  std::vector<std::int64_t> out(static_cast<std::size_t>(shape.numel()));
  const auto dims = shape.values();
  for (std::int64_t e = 0; e < shape.numel(); ++e) {
    std::int64_t rest = e, at = 0;
    for (std::size_t d = dims.size(); d-- > 0;) {
      at += rest % dims[d] * strides[d];
      rest /= dims[d];
    }
    out[static_cast<std::size_t>(e)] = at;
  }
  return out;
}

void sum_into(const RefArgs& args, const Ints& axes) {
  const auto to = targets(args.in(0).type.shape, axes);
  for (std::size_t e = 0; e < to.size(); ++e) {
    args.out().v[static_cast<std::size_t>(to[e])] += args.in(0).v[e];
  }
}

void ref_sum(const RefArgs& args) {
  sum_into(args, axes_of(args.node.attrs(), args.in(0).type.shape, "sum"));
}

void ref_max(const RefArgs& args) {
  auto& out = args.out().v;
  std::fill(out.begin(), out.end(), -std::numeric_limits<double>::infinity());
  const auto to =
      targets(args.in(0).type.shape, axes_of(args.node.attrs(), args.in(0).type.shape, "max"));
  for (std::size_t e = 0; e < to.size(); ++e) {
    double& best = out[static_cast<std::size_t>(to[e])];
    const double v = args.in(0).v[e];
    if (v > best || std::isnan(v)) best = v;
  }
}

// A reduced value with its axes back as ones.
Value keep_axes(const GradArgs& args, Value v) {
  return ops::reshape(v, reduced_shape(args.in(0).shape(), axes_of(args.node), true));
}

std::vector<Value> grad_sum(const GradArgs& args) {
  return {ops::broadcast_to(keep_axes(args, args.grad()), args.in(0).shape())};
}

// Equal maxima share the gradient.
std::vector<Value> grad_max(const GradArgs& args) {
  const Value hit = ops::equal(args.in(0), keep_axes(args, args.out()));
  const Value hits = ops::sum(hit, axes_of(args.node), true);
  return {hit * (keep_axes(args, args.grad()) / hits)};
}

std::optional<Sample> sample_reduce(Rng& rng, int index) {
  if (index >= kSamples + 4) return std::nullopt;
  if (index == kSamples + 3) {
    return Sample{{{{DType::f32, Shape{2, 19, 5, 3}, {}}}},
                  {{"axes", Ints{0, 2, 3}}, {"keep", true}}};
  }
  const Shape shape = index < kSamples        ? sample_shape(rng, index)
                      : index == kSamples     ? Shape{20000}
                      : index == kSamples + 1 ? Shape{600, 5}
                                              : Shape{3, 4, 300};
  Ints axes;
  if (index % 3 == 1) axes = {-1};
  if (index % 3 == 2) axes = {0};
  if (index == 5 || index == kSamples + 2) axes = {0, 2};
  return Sample{{{{DType::f32, shape, {}}}}, {{"axes", axes}, {"keep", index % 2 == 1}}};
}

// Values far enough apart that a small step does not change which one is the largest.
std::optional<Sample> sample_max(Rng& rng, int index) {
  auto sample = sample_reduce(rng, index);
  if (!sample) return sample;
  auto& values = sample->inputs[0].values;
  const std::int64_t n = sample->inputs[0].type.shape.numel();
  for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<double>(i - n / 2) * 0.01);
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[rng.below(i)]);
  return sample;
}

template <ReduceKind kind>
KernelPlan prepare_axes(const KernelQuery& query, CpuFeatures features) {
  return plan_reduce(query, axes_of(query.node), kind, reduce_kernels(features));
}
// Sums over everything but the channels of an image: bias gradients.
std::string refuses_channel_sum(const KernelQuery& query) {
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  const Shape& x = query.node.input(0).shape();
  if (x.rank() != 4) return "x is no image";
  const Shape& out = query.node.types()[0].shape;
  const Ints axes = &query.node.op() == &kSumTo ? shrunk_axes(x, out) : axes_of(query.node);
  for (const int axis : {0, 2, 3}) {
    if (!contains(axes, axis) && !x[axis].is_one()) return "not over images and pixels";
  }
  return contains(axes, 1) ? "over channels too" : "";
}

KernelPlan prepare_sum_to(const KernelQuery& query, CpuFeatures features) {
  const Ints axes = shrunk_axes(query.node.input(0).shape(), query.node.types()[0].shape);
  return plan_reduce(query, axes, ReduceKind::sum, reduce_kernels(features));
}

using Prepare = KernelPlan (*)(const KernelQuery&, CpuFeatures);
template <Prepare prepare>
constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"reduce_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, kAvx512); }},
    {"reduce_avx2", kAvx2, refuses_encoded, [](const KernelQuery& q) { return prepare(q, kAvx2); }},
#endif
    {"reduce_plain", kScalar, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, kScalar); }},
    kRefRow,
};

// Sums: the channels of an image first.
template <Prepare prepare>
constexpr KernelRow kSumRows[] = {
#if defined(__x86_64__)
    {"channel_sums_avx512", kAvx512, refuses_channel_sum,
     [](const KernelQuery& q) { return plan_channel_sums(q, kAvx512); }},
    {"channel_sums_avx2", kAvx2, refuses_channel_sum,
     [](const KernelQuery& q) { return plan_channel_sums(q, kAvx2); }},
#endif
    {"channel_sums_plain", kScalar, refuses_channel_sum,
     [](const KernelQuery& q) { return plan_channel_sums(q, kScalar); }},
#if defined(__x86_64__)
    {"reduce_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, kAvx512); }},
    {"reduce_avx2", kAvx2, refuses_encoded, [](const KernelQuery& q) { return prepare(q, kAvx2); }},
#endif
    {"reduce_plain", kScalar, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, kScalar); }},
    kRefRow,
};

// ---- sum_to, broadcast_to ----

std::vector<TensorType> infer_sum_to(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  const Shape& shape = args.attrs.shape("shape");
  args.require(broadcasts_to(shape, args.shape(0)), shape, " does not broadcast to ",
               args.shape(0));
  return {{DType::f32, shape, {}}};
}

void ref_sum_to(const RefArgs& args) {
  sum_into(args, shrunk_axes(args.in(0).type.shape, args.out().type.shape));
}

std::vector<Value> grad_sum_to(const GradArgs& args) {
  return {ops::broadcast_to(args.grad(), args.in(0).shape())};
}

std::vector<TensorType> infer_broadcast_to(const InferArgs& args) {
  const Shape& shape = args.attrs.shape("shape");
  args.require(broadcasts_to(args.shape(0), shape), args.in(0), " does not broadcast to ", shape);
  return {{args.in(0).dtype, shape, {}}};
}

void ref_broadcast_to(const RefArgs& args) {
  for_each_element(args.inputs, args.out().type.shape, [&](std::int64_t e, const double* x) {
    args.out().v[static_cast<std::size_t>(e)] = x[0];
  });
}

std::vector<Value> grad_broadcast_to(const GradArgs& args) {
  return {ops::sum_to(args.grad(), args.in(0).shape())};
}

struct ShapePair {
  Shape small, large;
};
std::optional<ShapePair> sample_pair(int index) {
  static const ShapePair pairs[] = {{{}, {5}},
                                    {{1}, {3, 4}},
                                    {{7}, {9, 7}},
                                    {{9, 1}, {9, 70}},
                                    {{2, 1, 5}, {2, 3, 5}},
                                    {{3, 1}, {2, 3, 8}},
                                    {{4, 4}, {4, 4}},
                                    {{}, {600, 33}},
                                    {{1, 6, 1}, {5, 6, 40}},
                                    {{19, 1, 1}, {2, 19, 5, 3}}};
  if (index >= static_cast<int>(std::size(pairs))) return std::nullopt;
  return pairs[index];
}

std::optional<Sample> sample_sum_to(Rng&, int index) {
  const auto pair = sample_pair(index);
  if (!pair) return std::nullopt;
  return Sample{{{{DType::f32, pair->large, {}}}}, {{"shape", pair->small}}};
}
std::optional<Sample> sample_broadcast_to(Rng&, int index) {
  const auto pair = sample_pair(index);
  if (!pair) return std::nullopt;
  return Sample{{{{DType::f32, pair->small, {}}}}, {{"shape", pair->large}}};
}

KernelPlan prepare_broadcast_to(const KernelQuery& query) {
  const TensorType& out = query.node.types()[0];
  StridedCopy copy{
      {out.shape.values(),
       {broadcast_strides(query.node.input(0).shape(), out.shape), strides_of(out.shape.values())}},
      size_of(out.dtype)};
  return plan_copies({copy});
}

constexpr KernelRow kBroadcastRows[] = {
    {"strided_copy", kScalar, refuses_encoded, prepare_broadcast_to}, kRefRow};

// ---- count, argmax ----

std::vector<TensorType> infer_count(const InferArgs& args) {
  axes_of(args.attrs, args.shape(0), args.op.name);
  return {{DType::f32, {}, {}}};
}

double count_of(const Attrs& attrs, const Shape& shape) {
  double n = 1;
  for (const auto axis : axes_of(attrs, shape, "count")) {
    n *= static_cast<double>(shape[static_cast<int>(axis)].value());
  }
  return n;
}

void ref_count(const RefArgs& args) {
  args.out().v[0] = count_of(args.node.attrs(), args.in(0).type.shape);
}

KernelPlan prepare_count(const KernelQuery& query) {
  const auto n = static_cast<float>(count_of(query.node.attrs(), query.node.input(0).shape()));
  KernelPlan plan;
  plan.run = [n](const KernelArgs& args) { *args.out().as<float>() = n; };
  return plan;
}

constexpr KernelRow kCountRows[] = {
    {"known", kScalar, [](const KernelQuery&) { return std::string(); }, prepare_count}, kRefRow};

std::optional<Sample> sample_count(Rng& rng, int index) {
  auto sample = sample_reduce(rng, index);
  if (sample) sample->attrs = {{"axes", sample->attrs.integers("axes")}};
  return sample;
}

std::vector<TensorType> infer_argmax(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  const int axis = normalize_axis(args.op.name, args.attrs.integer("axis"), args.shape(0));
  args.require(args.shape(0)[axis].factor() > 0, "axis ", axis, " of ", args.in(0), " is empty");
  return {{DType::s32, reduced_shape(args.shape(0), {axis}, false), {}}};
}

// Calls store(output index, position) with the first maximum of each line; the first NaN wins.
template <class T, class Store>
void argmax_lines(const T* x, const Shape& shape, int axis, Store&& store) {
  const std::int64_t outer = product(shape, 0, axis), n = shape[axis].value();
  const std::int64_t inner = product(shape, axis + 1, shape.rank());
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t i = 0; i < inner; ++i) {
      const T* line = x + o * n * inner + i;
      std::int64_t best = 0;
      for (std::int64_t j = 1; j < n && line[best * inner] == line[best * inner]; ++j) {
        const T v = line[j * inner];
        if (v > line[best * inner] || v != v) best = j;
      }
      store(o * inner + i, best);
    }
  }
}

void ref_argmax(const RefArgs& args) {
  const Shape& shape = args.in(0).type.shape;
  argmax_lines(args.in(0).v.data(), shape,
               normalize_axis("argmax", args.node.attrs().integer("axis"), shape),
               [&](std::int64_t i, std::int64_t best) {
                 args.out().v[static_cast<std::size_t>(i)] = static_cast<double>(best);
               });
}

KernelPlan prepare_argmax(const KernelQuery& query) {
  const Shape shape = query.node.input(0).shape();
  const int axis = normalize_axis("argmax", query.node.attrs().integer("axis"), shape);
  KernelPlan plan;
  plan.run = [shape, axis](const KernelArgs& args) {
    argmax_lines(args.in(0).as<const float>(), shape, axis, [&](std::int64_t i, std::int64_t best) {
      args.out().as<std::int32_t>()[i] = static_cast<std::int32_t>(best);
    });
  };
  return plan;
}

constexpr KernelRow kArgmaxRows[] = {{"lines", kScalar, refuses_encoded, prepare_argmax}, kRefRow};

std::optional<Sample> sample_argmax(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  return Sample{{{{DType::f32, shape, {}}}}, {{"axis", std::int64_t{index % 2 == 0 ? -1 : 0}}}};
}

const std::vector<AttrDef>& axes_attrs() {
  static const std::vector<AttrDef> attrs = {{"axes", AttrKind::integers, Ints{}},
                                             {"keep", AttrKind::boolean, false}};
  return attrs;
}

}  // namespace

const OpDef kSum{.name = "sum",
                 .doc = "sum over axes",
                 .inputs = {{.name = "x", .image = true}},
                 .attrs = axes_attrs(),
                 .traits = kReduction,
                 .infer = infer_reduce,
                 .grad = grad_sum,
                 .ref = ref_sum,
                 .sample = sample_reduce,
                 .rows = kSumRows<prepare_axes<ReduceKind::sum>>};
const OpDef kMax{.name = "max",
                 .doc = "largest element over axes; NaN wins",
                 .inputs = {{"x"}},
                 .attrs = axes_attrs(),
                 .traits = kReduction,
                 .infer = infer_reduce,
                 .grad = grad_max,
                 .ref = ref_max,
                 .sample = sample_max,
                 .rows = kRows<prepare_axes<ReduceKind::max>>};
const OpDef kSumTo{.name = "sum_to",
                   .doc = "sums x down to a shape that broadcasts to x's",
                   .inputs = {{.name = "x", .image = true}},
                   .attrs = {{"shape", AttrKind::shape, {}}},
                   .traits = kReduction,
                   .infer = infer_sum_to,
                   .grad = grad_sum_to,
                   .ref = ref_sum_to,
                   .sample = sample_sum_to,
                   .rows = kSumRows<prepare_sum_to>};
const OpDef kBroadcastTo{.name = "broadcast_to",
                         .doc = "x repeated to a larger shape",
                         .inputs = {{"x"}},
                         .attrs = {{"shape", AttrKind::shape, {}}},
                         .traits = kMovement,
                         .infer = infer_broadcast_to,
                         .grad = grad_broadcast_to,
                         .ref = ref_broadcast_to,
                         .sample = sample_broadcast_to,
                         .rows = kBroadcastRows};
const OpDef kCount{.name = "count",
                   .doc = "number of elements along axes, as a scalar",
                   .inputs = {{.name = "x", .differentiable = false}},
                   .attrs = {{"axes", AttrKind::integers, Ints{}}},
                   .infer = infer_count,
                   .ref = ref_count,
                   .sample = sample_count,
                   .rows = kCountRows};
const OpDef kArgmax{.name = "argmax",
                    .doc = "index of the first largest element along axis",
                    .inputs = {{.name = "x", .differentiable = false}},
                    .attrs = {{"axis", AttrKind::integer, std::int64_t{-1}}},
                    .traits = kReduction,
                    .infer = infer_argmax,
                    .ref = ref_argmax,
                    .sample = sample_argmax,
                    .rows = kArgmaxRows};

namespace ops {

namespace {

Value reduce(const OpDef& op, Value x, const Ints& axes, bool keep) {
  check(static_cast<bool>(x), "[", op.name, "] x is not a value");
  return make_node(op, {x}, {{"axes", normalize_axes(op.name, axes, x.shape())}, {"keep", keep}});
}

}  // namespace

Value sum(Value x, const Ints& axes, bool keep) {
  return reduce(kSum, x, axes, keep);
}
Value max(Value x, const Ints& axes, bool keep) {
  return reduce(kMax, x, axes, keep);
}
Value mean(Value x, const Ints& axes, bool keep) {
  const Value total = reduce(kSum, x, axes, keep);
  return total / count(x, axes);
}
Value count(Value x, const Ints& axes) {
  check(static_cast<bool>(x), "[count] x is not a value");
  return make_node(kCount, {x}, {{"axes", normalize_axes("count", axes, x.shape())}});
}
Value argmax(Value x, int axis) {
  return make_node(kArgmax, {x}, {{"axis", std::int64_t{axis}}});
}
Value broadcast_to(Value x, const Shape& shape) {
  if (x && x.shape() == shape) return x;
  return make_node(kBroadcastTo, {x}, {{"shape", shape}});
}
Value sum_to(Value x, const Shape& shape) {
  if (x && x.shape() == shape) return x;
  return make_node(kSumTo, {x}, {{"shape", shape}});
}

}  // namespace ops
}  // namespace tessera
