// cross_entropy(logits f32[n, c], labels s32[n]) {label_smoothing = e} -> f32[n]:
//   log sum e^x - (1 - e) x[label] - (e / c) sum x,
// that is -sum t log softmax(x) for targets t = (1 - e) onehot + e / c; the maximum is subtracted
// before exponentials. cross_entropy_grad(logits, labels, dy f32[n]) -> f32[n, c]:
//   dy (softmax(x) - t).
// Accumulator f32, in a fixed order per row. A label outside [0, c) throws Error.
#include <cmath>

#include "core/parallel.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"
#include "ops/softmax/softmax.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 8192;

std::vector<TensorType> infer(const InferArgs& args) {
  args.require_dtype(0, DType::f32);
  args.require_rank(0, 2);
  args.require_dtype(1, DType::s32);
  args.require_rank(1, 1);
  args.require(args.shape(0)[0] == args.shape(1)[0], "logits ", args.in(0), " need labels s32[",
               args.shape(0)[0], "], got ", args.in(1));
  const double e = args.attrs.real("label_smoothing");
  args.require(e >= 0 && e < 1, "label_smoothing must be in [0, 1), got ", e);
  return {{DType::f32, args.shape(1), {}}};
}

std::vector<TensorType> infer_grad(const InferArgs& args) {
  const auto loss = infer(args);
  args.require(args.in(2).dense() == loss[0], "expected dy ", loss[0], ", got ", args.in(2));
  return {args.in(0).dense()};
}

std::vector<Value> grad(const GradArgs& args) {
  return {make_node(kCrossEntropyGrad, {args.in(0), args.in(1), args.grad()}, args.node.attrs())};
}

template <class T>
std::int64_t checked_label(T label, std::int64_t classes, std::string_view op) {
  const auto out = static_cast<std::int64_t>(label);
  check(out >= 0 && out < classes, "[", op, "] label ", out, " is outside [0, ", classes, ")");
  return out;
}

// Shared by both references: rows of logits in f64.
struct RefRow {
  const double* x;
  std::int64_t c, label;
  double m, log_total, smoothing;

  RefRow(const RefArgs& args, std::int64_t i)
      : c(args.in(0).type.shape[1].value()), smoothing(args.node.attrs().real("label_smoothing")) {
    x = args.in(0).v.data() + i * c;
    label = checked_label(args.in(1).v[static_cast<std::size_t>(i)], c, args.node.op().name);
    m = x[0];
    double total = 0;
    for (std::int64_t j = 1; j < c; ++j) m = x[j] > m || std::isnan(x[j]) ? x[j] : m;
    for (std::int64_t j = 0; j < c; ++j) total += std::exp(x[j] - m);
    log_total = m + std::log(total);
  }
  double target(std::int64_t j) const {
    return (j == label ? 1 - smoothing : 0) + smoothing / static_cast<double>(c);
  }
};

void ref(const RefArgs& args) {
  for (std::int64_t i = 0; i < args.out().numel(); ++i) {
    const RefRow row(args, i);
    double loss = 0;
    for (std::int64_t j = 0; j < row.c; ++j) {
      if (const double t = row.target(j); t != 0) loss += t * (row.log_total - row.x[j]);
    }
    args.out().v[static_cast<std::size_t>(i)] = loss;
  }
}

void ref_grad(const RefArgs& args) {
  for (std::int64_t i = 0; i < args.in(1).numel(); ++i) {
    const RefRow row(args, i);
    const double dy = args.in(2).v[static_cast<std::size_t>(i)];
    for (std::int64_t j = 0; j < row.c; ++j) {
      args.out().v[static_cast<std::size_t>(i * row.c + j)] =
          dy * (std::exp(row.x[j] - row.log_total) - row.target(j));
    }
  }
}

template <bool with_grad>
std::optional<Sample> sample(Rng& rng, int index) {
  constexpr std::int64_t sizes[][2] = {{1, 1},  {1, 2},   {3, 10}, {7, 17},
                                       {33, 5}, {2, 300}, {64, 10}};
  if (index >= static_cast<int>(std::size(sizes))) return std::nullopt;
  const auto [n, c] = sizes[index];
  SampleInput labels{s32({n})};
  for (std::int64_t i = 0; i < n; ++i) {
    labels.values.push_back(static_cast<double>(rng.below(static_cast<std::uint64_t>(c))));
  }
  Sample out{{{f32({n, c}), -4, 4}, labels}, {{"label_smoothing", index % 2 == 1 ? 0.1 : 0.0}}};
  if (with_grad) out.inputs.push_back({f32({n})});
  return out;
}

struct Rows {
  std::int64_t n, c;
  float smoothing;
  const SoftmaxKernels* kernels;

  template <class Fn>
  void each(const KernelArgs& args, std::string_view op, Fn&& fn) const {
    // Beside its elements a row costs its two reductions.
    constexpr std::int64_t kRowCost = 64;
    parallel_for(n, std::max<std::int64_t>(1, kGrain / (c + kRowCost)),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     fn(i, args.in(0).as<const float>() + i * c,
                        checked_label(args.in(1).as<const std::int32_t>()[i], c, op));
                   }
                 });
  }

  void loss(const KernelArgs& args) const {
    each(args, "cross_entropy", [&](std::int64_t i, const float* x, std::int64_t label) {
      const float total = kernels->log_sum_exp(x, c);
      float loss = total - x[label];
      if (smoothing > 0) {
        float away = 0;
        for (std::int64_t j = 0; j < c; ++j) away += total - x[j];
        loss = (1 - smoothing) * loss + smoothing / static_cast<float>(c) * away;
      }
      args.out().as<float>()[i] = loss;
    });
  }

  void grad(const KernelArgs& args) const {
    each(args, "cross_entropy_grad", [&](std::int64_t i, const float* x, std::int64_t label) {
      const float dy = args.in(2).as<const float>()[i], even = smoothing / static_cast<float>(c);
      float* out = args.out().as<float>() + i * c;
      kernels->softmax(x, c, out);
      const float own = out[label];
      if (smoothing > 0) {
        for (std::int64_t j = 0; j < c; ++j) out[j] = dy * (out[j] - even);
      } else {
        kernels->scale(out, c, dy);
      }
      out[label] = dy * (own - (1 - smoothing + even));
    });
  }
};

template <bool with_grad>
KernelPlan prepare(const KernelQuery& query, CpuFeatures features) {
  const Shape& shape = query.node.input(0).shape();
  const Rows rows{shape[0].value(), std::max<std::int64_t>(1, shape[1].value()),
                  static_cast<float>(query.node.attrs().real("label_smoothing")),
                  &softmax_kernels(features)};
  KernelPlan plan;
  plan.flops = 20.0 * static_cast<double>(shape.numel());
  plan.in_place = with_grad;  // logits become their gradient
  if (with_grad) {
    plan.run = [rows](const KernelArgs& args) { rows.grad(args); };
  } else {
    plan.run = [rows](const KernelArgs& args) { rows.loss(args); };
  }
  return plan;
}

template <bool with_grad>
constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"rows_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& q) { return prepare<with_grad>(q, kAvx512); }},
    {"rows_avx2", kAvx2, refuses_encoded,
     [](const KernelQuery& q) { return prepare<with_grad>(q, kAvx2); }},
#endif
    {"rows_plain", kScalar, refuses_encoded,
     [](const KernelQuery& q) { return prepare<with_grad>(q, kScalar); }},
    kRefRow,
};

const AttrDef kSmoothing{"label_smoothing", AttrKind::real, 0.0};

}  // namespace

const OpDef kCrossEntropy{.name = "cross_entropy",
                          .doc = "-log softmax(logits)[label] of each row",
                          .inputs = {{"logits"}, {.name = "labels", .differentiable = false}},
                          .attrs = {kSmoothing},
                          .infer = infer,
                          .grad = grad,
                          .ref = ref,
                          .sample = sample<false>,
                          .rows = kRows<false>};
const OpDef kCrossEntropyGrad{.name = "cross_entropy_grad",
                              .doc = "dy (softmax(logits) - target) of each row",
                              .inputs = {{.name = "logits", .differentiable = false},
                                         {.name = "labels", .differentiable = false},
                                         {.name = "dy", .differentiable = false}},
                              .attrs = {kSmoothing},
                              .infer = infer_grad,
                              .ref = ref_grad,
                              .sample = sample<true>,
                              .rows = kRows<true>};

namespace ops {

Value cross_entropy(Value logits, Value labels, double label_smoothing) {
  return make_node(kCrossEntropy, {logits, labels}, {{"label_smoothing", label_smoothing}});
}

Value soft_cross_entropy(Value logits, Value targets) {
  check(logits && targets && logits.shape().rank() == 2 && logits.type() == targets.type(),
        "[soft_cross_entropy] logits and targets must be f32 of the same shape [n, c]");
  return neg(sum(targets * log_softmax(logits, 1), {1}));
}

Value mse(Value a, Value b) {
  return mean(square(a - b));
}

}  // namespace ops
}  // namespace tessera
