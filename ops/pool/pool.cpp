// Pooling. max_pool2d: y[n,c,i,j] = max of the window of x at (i sh - top, j sw - left), kh x kw,
// inside the image; the first of equal values takes the gradient. avg_pool2d: the mean, over the
// whole window with count_pad, else over its part inside the image. x f32[n,c,h,w]; the batch may
// be symbolic.
#include <cmath>
#include <limits>
#include <memory>

#include "core/parallel.h"
#include "ops/build.h"
#include "ops/conv/conv.h"
#include "ops/layout/layout.h"
#include "ops/op_common.h"
#include "ops/pool/kernels.h"
#include "ops/pool/pool.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

std::int64_t at(const Attrs& attrs, std::string_view name, std::size_t i) {
  return attrs.integers(name)[i];
}

// The shape of y for x, with every check.
Shape output_shape(const InferArgs& args, const Shape& x) {
  constexpr std::int64_t kMost = 1 << 20;
  const auto in = [&](std::string_view name, std::size_t count, std::int64_t low) {
    const Ints& values = args.attrs.integers(name);
    args.require(values.size() == count, name, " needs ", count, " numbers, got ", values.size());
    for (const auto v : values)
      args.require(v >= low && v <= kMost, name, " must be at least ", low, ", got ", v);
  };
  in("kernel", 2, 1);
  in("stride", 2, 1);
  in("padding", 4, 0);
  args.require(x.rank() == 4, "expected x of rank 4, got ", x);
  Shape y = {x[0], x[1], 1, 1};
  for (std::size_t d = 0; d < 2; ++d) {
    const int axis = static_cast<int>(d) + 2;
    args.require(!x[axis].is_symbolic() && x[axis].value() >= 1, "x ", x,
                 " must have fixed height and width of at least 1");
    const std::int64_t kernel = at(args.attrs, "kernel", d), stride = at(args.attrs, "stride", d);
    const std::int64_t before = at(args.attrs, "padding", d),
                       after = at(args.attrs, "padding", d + 2);
    args.require(before < kernel, "padding ", before, " must be less than the kernel's ", kernel);
    const std::int64_t size = window_count(x[axis].value(), before + after, kernel, stride);
    args.require(size >= 1, "the window is larger than the padded image ", x);
    args.require((size - 1) * stride - before < x[axis].value(),
                 "the last window lies outside the image ", x);
    y[axis] = size;
  }
  return y;
}

std::vector<TensorType> infer_pool(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  return {in_layout(args, output_shape(args, args.shape(0)))};
}
// (x, dy) -> dx
std::vector<TensorType> infer_max_grad(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  args.require_dtype(1, DType::f32);
  const Shape y = output_shape(args, args.shape(0));
  args.require(args.shape(1) == y, "the gradient ", args.in(1), " does not fit y ", y);
  return {in_layout(args, args.shape(0))};
}
// (dy) {shape} -> dx
std::vector<TensorType> infer_avg_grad(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  const Shape& x = args.attrs.shape("shape");
  const Shape y = output_shape(args, x);
  args.require(args.shape(0) == y, "the gradient ", args.in(0), " does not fit y ", y);
  return {in_layout(args, x)};
}

PoolPlane plane_of(const Attrs& attrs, const Shape& x) {
  PoolPlane p{};
  p.h = x[2].value();
  p.w = x[3].value();
  p.kh = at(attrs, "kernel", 0);
  p.kw = at(attrs, "kernel", 1);
  p.sh = at(attrs, "stride", 0);
  p.sw = at(attrs, "stride", 1);
  p.top = at(attrs, "padding", 0);
  p.left = at(attrs, "padding", 1);
  p.oh = window_count(p.h, p.top + at(attrs, "padding", 2), p.kh, p.sh);
  p.ow = window_count(p.w, p.left + at(attrs, "padding", 3), p.kw, p.sw);
  p.count_pad = attrs.find("count_pad") != nullptr && attrs.boolean("count_pad");
  return p;
}

// Elements of all windows of a plane that lie in it, at most.
double window_elements(const PoolPlane& p) {
  return static_cast<double>(p.oh * p.ow) *
         static_cast<double>(std::min(p.kh, p.h) * std::min(p.kw, p.w));
}

// ---- reference ----

// Calls fn(index of y, indices of x in the window) for every window.
template <class Fn>
void for_each_window(const PoolPlane& p, std::int64_t planes, Fn&& fn) {
  std::vector<std::size_t> inside;
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    for (std::int64_t i = 0; i < p.oh; ++i) {
      for (std::int64_t j = 0; j < p.ow; ++j) {
        inside.clear();
        const std::int64_t top = i * p.sh - p.top, left = j * p.sw - p.left;
        const std::int64_t bottom = std::min(p.h, top + p.kh), right = std::min(p.w, left + p.kw);
        for (std::int64_t r = std::max<std::int64_t>(0, top); r < bottom; ++r) {
          for (std::int64_t c = std::max<std::int64_t>(0, left); c < right; ++c)
            inside.push_back(static_cast<std::size_t>((plane * p.h + r) * p.w + c));
        }
        fn(static_cast<std::size_t>((plane * p.oh + i) * p.ow + j), inside);
      }
    }
  }
}

std::size_t first_largest(const std::vector<double>& x, const std::vector<std::size_t>& inside) {
  std::size_t best = inside[0];
  for (const std::size_t e : inside) {
    if (x[e] > x[best] || (std::isnan(x[e]) && !std::isnan(x[best]))) best = e;
  }
  return best;
}

std::int64_t planes_of(const Shape& x) {
  return x[0].value() * x[1].value();
}

void ref_max(const RefArgs& args) {
  const Shape& x = args.in(0).type.shape;
  for_each_window(plane_of(args.node.attrs(), x), planes_of(x), [&](auto y, const auto& inside) {
    args.out().v[y] = args.in(0).v[first_largest(args.in(0).v, inside)];
  });
}
void ref_max_grad(const RefArgs& args) {
  const Shape& x = args.in(0).type.shape;
  for_each_window(plane_of(args.node.attrs(), x), planes_of(x), [&](auto y, const auto& inside) {
    args.out().v[first_largest(args.in(0).v, inside)] += args.in(1).v[y];
  });
}
double divisor(const PoolPlane& p, std::size_t inside) {
  return p.count_pad ? static_cast<double>(p.kh * p.kw) : static_cast<double>(inside);
}
void ref_avg(const RefArgs& args) {
  const Shape& x = args.in(0).type.shape;
  const PoolPlane p = plane_of(args.node.attrs(), x);
  for_each_window(p, planes_of(x), [&](auto y, const auto& inside) {
    double sum = 0;
    for (const auto e : inside) sum += args.in(0).v[e];
    args.out().v[y] = sum / divisor(p, inside.size());
  });
}
void ref_avg_grad(const RefArgs& args) {
  const Shape& x = args.out().type.shape;
  const PoolPlane p = plane_of(args.node.attrs(), x);
  for_each_window(p, planes_of(x), [&](auto y, const auto& inside) {
    for (const auto e : inside) args.out().v[e] += args.in(0).v[y] / divisor(p, inside.size());
  });
}

const Shape& image_of(const Node& node) {
  const bool forward = &node.op() == &kMaxPool2d || &node.op() == &kAvgPool2d;
  return forward ? node.input(0).shape() : node.types()[0].shape;
}
double work(const Node& node) {
  const Shape& x = image_of(node);
  return static_cast<double>(planes_of(x)) * window_elements(plane_of(node.attrs(), x));
}

// ---- gradients ----

Attrs window_attrs(const Attrs& attrs, bool average) {
  Attrs out = {{"kernel", attrs.integers("kernel")},
               {"stride", attrs.integers("stride")},
               {"padding", attrs.integers("padding")}};
  if (average) out.set("count_pad", attrs.boolean("count_pad"));
  return out;
}
std::vector<Value> grad_max(const GradArgs& args) {
  return {
      make_node(kMaxPool2dGrad, {args.in(0), args.grad()}, window_attrs(args.node.attrs(), false))};
}
std::vector<Value> grad_avg(const GradArgs& args) {
  Attrs attrs = window_attrs(args.node.attrs(), true);
  attrs.set("shape", args.in(0).shape());
  return {make_node(kAvgPool2dGrad, {args.grad()}, std::move(attrs))};
}
std::vector<Value> grad_avg_grad(const GradArgs& args) {
  return {make_node(kAvgPool2d, {args.grad()}, window_attrs(args.node.attrs(), true))};
}

// ---- kernels ----

const PoolKernels& pool_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_pool_avx512;
  if (features.includes(kAvx2)) return tessera_pool_avx2;
#endif
  return tessera_pool_ref;
}

constexpr double kGrain = 16384;  // window elements that are worth another thread

// All four kernels walk planes: of x, and of y.
struct Pool {
  PoolPlane plane;
  std::int64_t planes, lanes;
  const PoolKernels* kernels;

  template <class Fn>
  void run(Fn&& fn) const {
    const double work = window_elements(plane) * static_cast<double>(lanes);
    parallel_for(planes, static_cast<std::int64_t>(std::max(1.0, kGrain / std::max(work, 1.0))),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i)
                     fn(i * plane.h * plane.w * lanes, i * plane.oh * plane.ow * lanes);
                 });
  }
};

// Blocked when any operand is; the others are blocked to match.
KernelPlan prepare_pool(const KernelQuery& query, CpuFeatures features) {
  const Node& node = query.node;
  const Shape& x = image_of(node);
  bool blocked = false;
  for (const Value v : node.inputs()) blocked = blocked || is_blocked(v.type());
  Pool pool{plane_of(node.attrs(), x), planes_of(x), 1, &pool_kernels(features)};
  KernelPlan plan;
  if (blocked) {
    pool.planes = x[0].value() * channel_blocks(x);
    pool.lanes = kLayoutBlock;
    plan.layout = kBlocked;
    for (const Value v : node.inputs()) plan.packs.push_back(as_blocked(v.type()));
  }
  const auto l = static_cast<std::size_t>(blocked);
  if (&node.op() == &kMaxPool2d) {
    plan.run = [pool, l](const KernelArgs& a) {
      pool.run([&](std::int64_t x, std::int64_t y) {
        pool.kernels->max_forward[l](pool.plane, a.in(0).as<float>() + x, a.out().as<float>() + y);
      });
    };
  } else if (&node.op() == &kMaxPool2dGrad) {
    plan.run = [pool, l](const KernelArgs& a) {
      pool.run([&](std::int64_t x, std::int64_t y) {
        pool.kernels->max_backward[l](pool.plane, a.in(0).as<float>() + x, a.in(1).as<float>() + y,
                                      a.out().as<float>() + x);
      });
    };
  } else if (&node.op() == &kAvgPool2d) {
    plan.run = [pool, l](const KernelArgs& a) {
      pool.run([&](std::int64_t x, std::int64_t y) {
        pool.kernels->average_forward[l](pool.plane, a.in(0).as<float>() + x,
                                         a.out().as<float>() + y);
      });
    };
  } else {
    plan.run = [pool, l](const KernelArgs& a) {
      pool.run([&](std::int64_t x, std::int64_t y) {
        pool.kernels->average_backward[l](pool.plane, a.in(0).as<float>() + y,
                                          a.out().as<float>() + x);
      });
    };
  }
  plan.flops = static_cast<double>(planes_of(x)) * window_elements(pool.plane);
  return plan;
}

constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"pool_avx512", kAvx512, refuses_other_layouts,
     [](const KernelQuery& q) { return prepare_pool(q, kAvx512); }},
    {"pool_avx2", kAvx2, refuses_other_layouts,
     [](const KernelQuery& q) { return prepare_pool(q, kAvx2); }},
#endif
    {"pool_plain", kScalar, refuses_other_layouts,
     [](const KernelQuery& q) { return prepare_pool(q, kScalar); }},
    kRefRow,
};

// ---- samples ----

struct SamplePool {
  Shape x;
  Ints kernel, stride, padding = {0, 0, 0, 0};
};
std::optional<SamplePool> sample_at(int index) {
  static const std::vector<SamplePool> cases = {
      {{1, 1, 1, 1}, {1, 1}, {1, 1}},
      {{2, 3, 8, 6}, {2, 2}, {2, 2}},
      {{1, 17, 7, 9}, {3, 3}, {2, 2}, {1, 1, 1, 1}},
      {{2, 16, 5, 5}, {3, 2}, {1, 3}, {0, 1, 2, 0}},
      {{1, 20, 24, 24}, {2, 2}, {2, 2}},
      {{1, 5, 6, 6}, {3, 3}, {2, 2}, {0, 0, 1, 1}},
  };
  if (index >= static_cast<int>(cases.size())) return std::nullopt;
  return cases[static_cast<std::size_t>(index)];
}
Attrs sample_attrs(const SamplePool& s) {
  return {{"kernel", s.kernel}, {"stride", s.stride}, {"padding", s.padding}};
}
Shape sample_y(const SamplePool& s) {
  const PoolPlane p = plane_of(sample_attrs(s), s.x);
  return {s.x[0], s.x[1], p.oh, p.ow};
}
// Values far enough apart that a small step does not change which one is the largest.
std::vector<double> distinct(const Shape& shape, Rng& rng) {
  std::vector<double> values;
  const std::int64_t n = shape.numel();
  for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<double>(i - n / 2) * 0.01);
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[rng.below(i)]);
  return values;
}
std::optional<Sample> sample_max(Rng& rng, int index) {
  const auto s = sample_at(index);
  if (!s) return std::nullopt;
  Sample out{{{{DType::f32, s->x, {}}}}, sample_attrs(*s)};
  out.inputs[0].values = distinct(s->x, rng);
  return out;
}
std::optional<Sample> sample_max_grad(Rng& rng, int index) {
  auto out = sample_max(rng, index);
  if (out) out->inputs.push_back({{DType::f32, sample_y(*sample_at(index)), {}}});
  return out;
}
std::optional<Sample> sample_avg(Rng&, int index) {
  const auto s = sample_at(index);
  if (!s) return std::nullopt;
  Sample out{{{{DType::f32, s->x, {}}}}, sample_attrs(*s)};
  out.attrs.set("count_pad", index % 2 == 0);
  return out;
}
std::optional<Sample> sample_avg_grad(Rng& rng, int index) {
  auto out = sample_avg(rng, index);
  if (!out) return out;
  out->attrs.set("shape", out->inputs[0].type.shape);
  out->inputs[0].type.shape = sample_y(*sample_at(index));
  return out;
}

std::vector<AttrDef> pool_attrs(std::vector<AttrDef> extra) {
  std::vector<AttrDef> out = {{"kernel", AttrKind::integers, {}},
                              {"stride", AttrKind::integers, {}},
                              {"padding", AttrKind::integers, Ints{0, 0, 0, 0}},
                              layout_attr()};
  out.insert(out.end(), extra.begin(), extra.end());
  return out;
}
AttrDef count_pad() {
  return {"count_pad", AttrKind::boolean, true};
}

Attrs attrs_of(Value x, const ops::Pool2dOptions& o, std::string_view op) {
  check(x && x.shape().rank() == 4, "[", op, "] expected x of rank 4, got ",
        x ? x.type().text() : std::string("no value"));
  Ints kernel(o.kernel.begin(), o.kernel.end()), stride(o.stride.begin(), o.stride.end());
  Ints padding(o.padding.begin(), o.padding.end());
  for (std::size_t d = 0; d < 2; ++d) {
    if (stride[d] == 0) stride[d] = kernel[d];
    if (!o.ceil) continue;
    check(stride[d] >= 1 && !x.shape()[static_cast<int>(d) + 2].is_symbolic(), "[", op,
          "] cannot round up the number of windows of ", x.type());
    // Pads so that a last, partial window fits, if it starts inside the image or its padding
    // before.
    const std::int64_t size = x.shape()[static_cast<int>(d) + 2].value();
    const std::int64_t room = size + padding[d] + padding[d + 2] - kernel[d];
    const std::int64_t rest = room % stride[d];
    if (room < 0 || rest == 0) continue;
    if ((room / stride[d] + 1) * stride[d] - padding[d] < size) padding[d + 2] += stride[d] - rest;
  }
  return {{"kernel", kernel}, {"stride", stride}, {"padding", padding}};
}

}  // namespace

const OpDef kMaxPool2d{.name = "max_pool2d",
                       .doc = "largest element of each window",
                       .inputs = {{.name = "x", .image = true}},
                       .attrs = pool_attrs({}),
                       .infer = infer_pool,
                       .grad = grad_max,
                       .ref = ref_max,
                       .work = work,
                       .sample = sample_max,
                       .rows = kRows};
const OpDef kMaxPool2dGrad{.name = "max_pool2d_grad",
                           .doc = "gradient of max_pool2d with respect to x",
                           .inputs = {{.name = "x", .differentiable = false, .image = true},
                                      {.name = "dy", .differentiable = false, .image = true}},
                           .attrs = pool_attrs({}),
                           .infer = infer_max_grad,
                           .ref = ref_max_grad,
                           .work = work,
                           .sample = sample_max_grad,
                           .rows = kRows};
const OpDef kAvgPool2d{.name = "avg_pool2d",
                       .doc = "mean of each window",
                       .inputs = {{.name = "x", .image = true}},
                       .attrs = pool_attrs({count_pad()}),
                       .infer = infer_pool,
                       .grad = grad_avg,
                       .ref = ref_avg,
                       .work = work,
                       .sample = sample_avg,
                       .rows = kRows};
const OpDef kAvgPool2dGrad{.name = "avg_pool2d_grad",
                           .doc = "gradient of avg_pool2d with respect to x, of the given shape",
                           .inputs = {{.name = "dy", .image = true}},
                           .attrs = pool_attrs({count_pad(), {"shape", AttrKind::shape, {}}}),
                           .infer = infer_avg_grad,
                           .grad = grad_avg_grad,
                           .ref = ref_avg_grad,
                           .work = work,
                           .sample = sample_avg_grad,
                           .rows = kRows};

namespace ops {

Value max_pool2d(Value x, const Pool2dOptions& options) {
  return make_node(kMaxPool2d, {x}, attrs_of(x, options, "max_pool2d"));
}
Value avg_pool2d(Value x, const Pool2dOptions& options) {
  Attrs attrs = attrs_of(x, options, "avg_pool2d");
  const Ints padded = attrs.integers("padding");
  const Ints given(options.padding.begin(), options.padding.end());
  if (!options.count_pad || padded == given) {
    attrs.set("count_pad", options.count_pad);
    return make_node(kAvgPool2d, {x}, std::move(attrs));
  }
  // What only rounding up has added counts in no window; what was asked for does: it is part of x.
  x = pad(pad(x, 2, given[0], given[2]), 3, given[1], given[3]);
  attrs.set("padding", Ints{0, 0, padded[2] - given[2], padded[3] - given[3]});
  attrs.set("count_pad", false);
  return make_node(kAvgPool2d, {x}, std::move(attrs));
}
Value global_avg_pool2d(Value x) {
  check(x && x.shape().rank() == 4, "[global_avg_pool2d] expected x of rank 4, got ",
        x ? x.type().text() : std::string("no value"));
  return mean(x, {2, 3});
}

}  // namespace ops
}  // namespace tessera
