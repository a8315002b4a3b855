// softmax {axis}: y = e^(x - m) / sum e^(x - m), m the maximum along the axis.
// log_softmax {axis}: y = x - m - log sum e^(x - m).
// Shapes as x. Accumulator f32, in a fixed order per line. Gradients from the output alone:
// softmax y (dy - sum dy y), log_softmax dy - e^y sum dy. Other axes than the last run through the
// same kernel on a copy of each line.
#include "ops/softmax/softmax.h"

#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 8192;  // elements worth another thread: an exponential is not cheap

int axis_of(const Node& node, const Shape& shape) {
  return normalize_axis(node.op().name, node.attrs().integer("axis"), shape);
}

std::vector<TensorType> infer(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  normalize_axis(args.op.name, args.attrs.integer("axis"), args.shape(0));
  return {args.in(0).dense()};
}

std::vector<Value> grad_softmax(const GradArgs& args) {
  const Value y = args.out(), dy = args.grad();
  return {y * (dy - ops::sum(dy * y, {axis_of(args.node, y.shape())}, true))};
}

std::vector<Value> grad_log_softmax(const GradArgs& args) {
  const Value y = args.out(), dy = args.grad();
  return {dy - ops::exp(y) * ops::sum(dy, {axis_of(args.node, y.shape())}, true)};
}

template <bool logarithm>
void ref(const RefArgs& args) {
  const Shape& shape = args.in(0).type.shape;
  const int axis = axis_of(args.node, shape);
  const std::int64_t n = shape[axis].value(), inner = product(shape, axis + 1, shape.rank());
  const auto& x = args.in(0).v;
  for (std::int64_t line = 0; line < product(shape, 0, axis) * inner; ++line) {
    const auto at = [&](std::int64_t j) {
      return static_cast<std::size_t>((line / inner * n + j) * inner + line % inner);
    };
    double m = -std::numeric_limits<double>::infinity(), total = 0;
    for (std::int64_t j = 0; j < n; ++j) m = x[at(j)] > m || std::isnan(x[at(j)]) ? x[at(j)] : m;
    for (std::int64_t j = 0; j < n; ++j) total += std::exp(x[at(j)] - m);
    for (std::int64_t j = 0; j < n; ++j) {
      const double shifted = x[at(j)] - m;
      args.out().v[at(j)] = logarithm ? shifted - std::log(total) : std::exp(shifted) / total;
    }
  }
}

std::optional<Sample> sample(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  return Sample{{{{DType::f32, shape, {}}, -4, 4}}, {{"axis", std::int64_t{index % 2 - 1}}}};
}

template <bool logarithm>
KernelPlan prepare(const KernelQuery& query, CpuFeatures features) {
  const Shape& shape = query.node.types()[0].shape;
  const int axis = axis_of(query.node, shape);
  const std::int64_t outer = product(shape, 0, axis), n = shape[axis].value();
  const std::int64_t inner = product(shape, axis + 1, shape.rank());
  const SoftmaxKernels& kernels = softmax_kernels(features);
  const auto line = logarithm ? kernels.log_softmax : kernels.softmax;
  // One contiguous copy of a line per thread where lines are strided.
  const std::int64_t line_bytes = (n * 4 + 63) / 64 * 64;
  const std::int64_t parts = inner == 1 ? 1 : std::max(1, query.threads);
  KernelPlan plan;
  plan.in_place = true;
  plan.flops = 20.0 * static_cast<double>(shape.numel());
  plan.scratch_bytes = inner == 1 ? 0 : parts * line_bytes;
  plan.run = [=](const KernelArgs& args) {
    const float* x = args.in(0).as<const float>();
    float* y = args.out().as<float>();
    if (inner == 1) {
      parallel_for(outer, std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(n, 1)),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i) line(x + i * n, n, y + i * n);
                   });
      return;
    }
    const std::int64_t lines = outer * inner;
    parallel_parts(lines * n < 2 * kGrain ? 1 : parts, [&](std::int64_t part) {
      const std::int64_t count = lines * n < 2 * kGrain ? 1 : parts;
      auto* copy = reinterpret_cast<float*>(args.scratch + part * line_bytes);
      for (std::int64_t i = lines * part / count; i < lines * (part + 1) / count; ++i) {
        const std::int64_t start = i / inner * n * inner + i % inner;
        for (std::int64_t j = 0; j < n; ++j) copy[j] = x[start + j * inner];
        line(copy, n, copy);
        for (std::int64_t j = 0; j < n; ++j) y[start + j * inner] = copy[j];
      }
    });
  };
  return plan;
}

template <bool logarithm>
constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"lines_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& q) { return prepare<logarithm>(q, kAvx512); }},
    {"lines_avx2", kAvx2, refuses_encoded,
     [](const KernelQuery& q) { return prepare<logarithm>(q, kAvx2); }},
#endif
    {"lines_plain", kScalar, refuses_encoded,
     [](const KernelQuery& q) { return prepare<logarithm>(q, kScalar); }},
    kRefRow,
};

}  // namespace

const SoftmaxKernels& softmax_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_softmax_avx512;
  if (features.includes(kAvx2)) return tessera_softmax_avx2;
#endif
  return tessera_softmax_ref;
}

const OpDef kSoftmax{.name = "softmax",
                     .doc = "e^x / sum of e^x along axis",
                     .inputs = {{"x"}},
                     .attrs = {{"axis", AttrKind::integer, std::int64_t{-1}}},
                     .infer = infer,
                     .grad = grad_softmax,
                     .ref = ref<false>,
                     .sample = sample,
                     .rows = kRows<false>};
const OpDef kLogSoftmax{.name = "log_softmax",
                        .doc = "logarithm of softmax along axis",
                        .inputs = {{"x"}},
                        .attrs = {{"axis", AttrKind::integer, std::int64_t{-1}}},
                        .infer = infer,
                        .grad = grad_log_softmax,
                        .ref = ref<true>,
                        .sample = sample,
                        .rows = kRows<true>};

namespace ops {

Value softmax(Value x, int axis) {
  return make_node(kSoftmax, {x}, {{"axis", std::int64_t{axis}}});
}
Value log_softmax(Value x, int axis) {
  return make_node(kLogSoftmax, {x}, {{"axis", std::int64_t{axis}}});
}

}  // namespace ops
}  // namespace tessera
