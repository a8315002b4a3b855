// Enlarging images by a whole factor. y[n,c,i,j] = sum of x[n,c,r,s] row(i, r) column(j, s):
// nearest takes x[i / factor, j / factor], bilinear weighs the two nearest centres along each
// axis, pixels being squares whose centres lie at i + 1/2 (PyTorch's align_corners = false); the
// border goes on. x f32[n,c,h,w], the batch may be symbolic; both are linear, so the gradient's
// gradient is the op itself. Sums in f32: factor^2 terms, bilinear up to (2 factor)^2.
#include "ops/upsample/upsample.h"

#include <cmath>
#include <memory>

#include "core/parallel.h"
#include "ops/build.h"
#include "ops/layout/layout.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"
#include "ops/upsample/kernels.h"

namespace tessera {

namespace {

constexpr std::int64_t kMostFactor = 64;

std::int64_t factor_of(const Attrs& attrs) {
  return attrs.integer("factor");
}
bool is_bilinear(const Attrs& attrs) {
  return attrs.boolean("bilinear");
}

std::int64_t checked_factor(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  const std::int64_t factor = factor_of(args.attrs);
  args.require(factor >= 1 && factor <= kMostFactor, "factor must be in [1, ", kMostFactor,
               "], got ", factor);
  const Shape& image = args.shape(0);
  args.require(image.rank() == 4, "expected an image of rank 4, got ", image);
  for (const int axis : {1, 2, 3})
    args.require(!image[axis].is_symbolic() && image[axis].value() >= 1, "the image ", image,
                 " must have fixed sides of at least 1");
  return factor;
}

std::vector<TensorType> infer_upsample(const InferArgs& args) {
  const std::int64_t factor = checked_factor(args);
  const Shape& x = args.shape(0);
  return {in_layout(args, {x[0], x[1], x[2].value() * factor, x[3].value() * factor})};
}
// dy -> dx
std::vector<TensorType> infer_upsample_grad(const InferArgs& args) {
  const std::int64_t factor = checked_factor(args);
  const Shape& y = args.shape(0);
  args.require(y[2].value() % factor == 0 && y[3].value() % factor == 0, "the sides of ", y,
               " are no multiples of ", factor);
  return {in_layout(args, {y[0], y[1], y[2].value() / factor, y[3].value() / factor})};
}

// Where outputs along an axis of `size` inputs come from.
std::vector<UpsampleTap> taps(std::int64_t size, std::int64_t factor) {
  std::vector<UpsampleTap> out;
  for (std::int64_t i = 0; i < size * factor; ++i) {
    const double at =
        std::max(0.0, (static_cast<double>(i) + 0.5) / static_cast<double>(factor) - 0.5);
    const auto first = static_cast<std::int64_t>(at);
    const double share = at - static_cast<double>(first);
    out.push_back({first, std::min(first + 1, size - 1), static_cast<float>(1 - share),
                   static_cast<float>(share)});
  }
  return out;
}

const Shape& small_side(const Node& node) {
  return &node.op() == &kUpsample2d ? node.input(0).shape() : node.types()[0].shape;
}

// ---- reference ----

// Calls fn(index of the large image, index of the small one, share) for every pair that meets.
template <class Fn>
void for_each_pair(const Node& node, Fn&& fn) {
  const Shape& x = small_side(node);
  const std::int64_t factor = factor_of(node.attrs()), h = x[2].value(), w = x[3].value();
  const bool bilinear = is_bilinear(node.attrs());
  // Shares in double precision: those of taps() are rounded.
  const auto along = [&](std::int64_t size, std::int64_t i) {
    std::array<std::pair<std::int64_t, double>, 2> out = {{{i / factor, 1}, {i / factor, 0}}};
    if (!bilinear) return out;
    const double at =
        std::max(0.0, (static_cast<double>(i) + 0.5) / static_cast<double>(factor) - 0.5);
    const auto first = static_cast<std::int64_t>(at);
    const double share = at - static_cast<double>(first);
    out = {{{first, 1 - share}, {std::min(first + 1, size - 1), share}}};
    return out;
  };
  for (std::int64_t plane = 0; plane < x[0].value() * x[1].value(); ++plane) {
    for (std::int64_t i = 0; i < h * factor; ++i) {
      for (std::int64_t j = 0; j < w * factor; ++j) {
        for (const auto& [r, row_share] : along(h, i)) {
          for (const auto& [c, column_share] : along(w, j)) {
            fn(static_cast<std::size_t>((plane * h * factor + i) * w * factor + j),
               static_cast<std::size_t>((plane * h + r) * w + c), row_share * column_share);
          }
        }
      }
    }
  }
}

void ref_upsample(const RefArgs& args) {
  for_each_pair(args.node, [&](std::size_t large, std::size_t small, double share) {
    if (share != 0) args.out().v[large] += share * args.in(0).v[small];
  });
}
void ref_upsample_grad(const RefArgs& args) {
  for_each_pair(args.node, [&](std::size_t large, std::size_t small, double share) {
    if (share != 0) args.out().v[small] += share * args.in(0).v[large];
  });
}

double work(const Node& node) {
  const auto f = static_cast<double>(factor_of(node.attrs()));
  const Shape& x = small_side(node);
  return 4 * f * f * static_cast<double>(x.numel());
}

// ---- gradients ----

Attrs mode_attrs(const Attrs& attrs) {
  return {{"factor", factor_of(attrs)}, {"bilinear", is_bilinear(attrs)}};
}
std::vector<Value> grad_upsample(const GradArgs& args) {
  return {make_node(kUpsample2dGrad, {args.grad()}, mode_attrs(args.node.attrs()))};
}
std::vector<Value> grad_upsample_grad(const GradArgs& args) {
  return {make_node(kUpsample2d, {args.grad()}, mode_attrs(args.node.attrs()))};
}

// ---- kernels ----

const UpsampleKernels& upsample_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_upsample_avx512;
  if (features.includes(kAvx2)) return tessera_upsample_avx2;
#endif
  return tessera_upsample_ref;
}

constexpr double kGrain = 16384;  // elements that are worth another thread

KernelPlan prepare_upsample(const KernelQuery& query, CpuFeatures features) {
  const Node& node = query.node;
  const Shape& x = small_side(node);
  const bool blocked = is_blocked(node.input(0).type()), bilinear = is_bilinear(node.attrs());
  struct Axes {
    std::vector<UpsampleTap> rows, columns;
  };
  UpsamplePlane p{x[2].value(), x[3].value(), factor_of(node.attrs()), nullptr, nullptr};
  auto axes = std::make_shared<Axes>();
  if (bilinear) *axes = {taps(p.h, p.factor), taps(p.w, p.factor)};
  p.rows = axes->rows.data();
  p.columns = axes->columns.data();
  const std::int64_t lanes = blocked ? kLayoutBlock : 1;
  const std::int64_t planes = x[0].value() * (blocked ? channel_blocks(x) : x[1].value());
  const std::int64_t small = p.h * p.w * lanes, large = small * p.factor * p.factor;
  const auto at = static_cast<std::size_t>(blocked);
  const UpsampleKernels& kernels = upsample_kernels(features);
  const bool forward = &node.op() == &kUpsample2d;
  const auto fn = forward ? (bilinear ? kernels.bilinear_forward : kernels.nearest_forward)[at]
                          : (bilinear ? kernels.bilinear_backward : kernels.nearest_backward)[at];
  const std::int64_t in = forward ? small : large, out = forward ? large : small;
  const auto grain = static_cast<std::int64_t>(std::max(1.0, kGrain / static_cast<double>(large)));
  KernelPlan plan;
  if (blocked) plan.layout = kBlocked;
  plan.run = [p, axes, fn, planes, in, out, grain](const KernelArgs& a) {
    parallel_for(planes, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        fn(p, a.in(0).as<float>() + i * in, a.out().as<float>() + i * out);
    });
  };
  plan.flops = work(node);
  return plan;
}

constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"upsample_avx512", kAvx512, refuses_other_layouts,
     [](const KernelQuery& q) { return prepare_upsample(q, kAvx512); }},
    {"upsample_avx2", kAvx2, refuses_other_layouts,
     [](const KernelQuery& q) { return prepare_upsample(q, kAvx2); }},
#endif
    {"upsample_plain", kScalar, refuses_other_layouts,
     [](const KernelQuery& q) { return prepare_upsample(q, kScalar); }},
    kRefRow,
};

// ---- samples ----

std::optional<Sample> sample_upsample(Rng&, int index) {
  static const std::vector<std::pair<Shape, std::int64_t>> cases = {{{1, 1, 1, 1}, 2},
                                                                    {{2, 3, 4, 5}, 2},
                                                                    {{1, 17, 3, 2}, 3},
                                                                    {{2, 16, 5, 7}, 2},
                                                                    {{1, 5, 3, 3}, 1}};
  const auto n = static_cast<int>(cases.size());
  if (index >= 2 * n) return std::nullopt;
  const auto& [x, factor] = cases[static_cast<std::size_t>(index % n)];
  return Sample{{{{DType::f32, x, {}}}}, {{"factor", factor}, {"bilinear", index >= n}}};
}
std::optional<Sample> sample_upsample_grad(Rng& rng, int index) {
  auto out = sample_upsample(rng, index);
  if (!out) return out;
  Shape& shape = out->inputs[0].type.shape;
  const std::int64_t factor = out->attrs.integer("factor");
  shape = {shape[0], shape[1], shape[2].value() * factor, shape[3].value() * factor};
  return out;
}

std::vector<AttrDef> upsample_attrs() {
  return {{"factor", AttrKind::integer, {}}, {"bilinear", AttrKind::boolean, false}, layout_attr()};
}

}  // namespace

const OpDef kUpsample2d{.name = "upsample2d",
                        .doc = "images enlarged by a factor, nearest or bilinear",
                        .inputs = {{.name = "x", .image = true}},
                        .attrs = upsample_attrs(),
                        .infer = infer_upsample,
                        .grad = grad_upsample,
                        .ref = ref_upsample,
                        .work = work,
                        .sample = sample_upsample,
                        .rows = kRows};
const OpDef kUpsample2dGrad{.name = "upsample2d_grad",
                            .doc = "gradient of upsample2d with respect to x",
                            .inputs = {{.name = "dy", .image = true}},
                            .attrs = upsample_attrs(),
                            .infer = infer_upsample_grad,
                            .grad = grad_upsample_grad,
                            .ref = ref_upsample_grad,
                            .work = work,
                            .sample = sample_upsample_grad,
                            .rows = kRows};

namespace ops {

Value upsample2d(Value x, std::int64_t factor, Upsampling how) {
  return make_node(kUpsample2d, {x},
                   {{"factor", factor}, {"bilinear", how == Upsampling::bilinear}});
}

}  // namespace ops
}  // namespace tessera
