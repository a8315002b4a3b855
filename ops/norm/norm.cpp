// Batch normalization (Ioffe & Szegedy 2015). Normalizing is elementwise, so it fuses with what
// follows (activation, residual); only the sums over a channel are ops of their own:
//   channel_stats(x)              -> mean[c], variance[c] (mean squared deviation)
//   channel_products(dy, x, mean) -> sum dy, sum dy (x - mean), per channel; with a prologue dy is
//   what
//     that Program makes of operand 0 and the operands behind the mean, and is never stored
//   batch_norm_train(x, gamma, beta) -> y, mean, variance; made of channel_stats and elementwise
//   ops
// x f32[n, c, ...] of rank 2 to 4; channels are axis 1. Accumulators: f32 within the plane of an
// image (shifted by the channel's first value or mean), f64 over images.
#include "ops/norm/norm.h"

#include <memory>

#include "ops/build.h"
#include "ops/communication/communication.h"
#include "ops/elementwise/carried_program.h"
#include "ops/elementwise/elementwise.h"
#include "ops/layout/layout.h"
#include "ops/norm/plane_sums.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

Ints other_axes(const Shape& x) {
  Ints axes = {0};
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return axes;
}
// A per-channel value as it broadcasts to x.
Value along_channels(Value v, const Shape& x) {
  Shape shape{x[1]};
  for (int i = 2; i < x.rank(); ++i) shape.push_back(1);
  return ops::reshape(v, shape);
}

void require_channels(const InferArgs& args, int i) {
  args.require_dtype(i, DType::f32);
  const Shape& x = args.shape(i);
  args.require(x.rank() >= 2 && x.rank() <= 4 && !x[1].is_symbolic(),
               "expected f32[n, channels, ...] of rank 2 to 4, got ", args.in(i));
  for (int axis = 0; axis < x.rank(); ++axis)
    args.require(x[axis].factor() >= 1, args.in(i), " is empty");
}

std::vector<TensorType> infer_stats(const InferArgs& args) {
  require_channels(args, 0);
  const TensorType channel{DType::f32, Shape{args.shape(0)[1]}, {}};
  return {channel, channel};
}
std::vector<TensorType> infer_products(const InferArgs& args) {
  require_channels(args, 1);
  args.require_dtype(0, DType::f32);
  args.require(args.shape(0) == args.shape(1), "dy ", args.in(0), " and x ", args.in(1), " differ");
  const TensorType channel{DType::f32, Shape{args.shape(1)[1]}, {}};
  args.require(args.in(2) == channel, "expected the mean as ", channel, ", got ", args.in(2));
  const auto program = carried_program(args, "prologue", 3, args.shape(1));
  args.require(!program || program->outputs.size() == 1, "a prologue has one result, got ",
               program ? program->outputs.size() : 0);
  return {channel, channel};
}
std::vector<TensorType> infer_train(const InferArgs& args) {
  require_channels(args, 0);
  const TensorType channel{DType::f32, Shape{args.shape(0)[1]}, {}};
  for (const int i : {1, 2}) {
    args.require(args.in(i) == channel, "expected ", i == 1 ? "gamma" : "beta", " as ",
                 channel.text(), ", got ", args.in(i).text());
  }
  args.require(args.attrs.real("epsilon") >= 0, "epsilon must not be negative");
  args.require(args.attrs.integer("ranks") >= 1, "expected at least one rank, got ",
               args.attrs.integer("ranks"));
  return {args.in(0).dense(), channel, channel};
}

// ---- reference ----

struct Channels {
  std::int64_t n, c, pixels;
  explicit Channels(const Shape& x)
      : n(x[0].value()), c(x[1].value()), pixels(product(x, 2, x.rank())) {}
  std::int64_t count() const { return n * pixels; }
  template <class Fn>
  void each(Fn&& fn) const {  // fn(element, channel)
    for (std::int64_t e = 0; e < n * c * pixels; ++e)
      fn(static_cast<std::size_t>(e), static_cast<std::size_t>(e / pixels % c));
  }
};

void ref_stats(const RefArgs& args) {
  const Channels d(args.in(0).type.shape);
  const auto& x = args.in(0).v;
  auto& mean = args.out(0).v;
  auto& variance = args.out(1).v;
  const auto count = static_cast<double>(d.count());
  d.each([&](auto e, auto c) { mean[c] += x[e] / count; });
  d.each([&](auto e, auto c) { variance[c] += (x[e] - mean[c]) * (x[e] - mean[c]) / count; });
}
void ref_products(const RefArgs& args) {
  const Shape& shape = args.in(1).type.shape;
  RefTensor made = args.in(0);
  finish_carried({args.node, args.inputs, {&made, 1}}, "prologue", 3, args.in(0));
  const std::vector<double>& dy = made.v;
  Channels(shape).each([&](auto e, auto c) {
    args.out(0).v[c] += dy[e];
    args.out(1).v[c] += dy[e] * (args.in(1).v[e] - args.in(2).v[c]);
  });
}

// ---- gradients ----

// d mean = sum dx / N; d variance = 2 sum (x - mean) dx / N.
std::vector<Value> grad_stats(const GradArgs& args) {
  const Value x = args.in(0);
  const Value n = ops::count(x, other_axes(x.shape()));
  Value dx;
  if (args.grad(1)) {
    const Value mean = along_channels(args.out(0), x.shape());
    dx = (x - mean) * along_channels(args.grad(1) * (2.0 / n), x.shape());
  }
  if (args.grad(0)) {
    const Value shift = along_channels(args.grad(0) / n, x.shape());
    dx = dx ? dx + shift : ops::broadcast_to(shift, x.shape());
  }
  return {dx};
}
std::vector<Value> grad_products(const GradArgs& args) {
  const Value dy = args.in(0), x = args.in(1);
  const Value mean = along_channels(args.in(2), x.shape());
  std::vector<Value> out(3);
  if (args.grad(0)) out[0] = ops::broadcast_to(along_channels(args.grad(0), x.shape()), x.shape());
  if (args.grad(1)) {
    const Value g = along_channels(args.grad(1), x.shape());
    const Value through = (x - mean) * g;
    out[0] = out[0] ? out[0] + through : through;
    out[1] = dy * g;
    out[2] = -args.grad(1) * args.out(0);
  }
  return out;
}

std::vector<Value> decompose_train(const Node& node, std::span<const Value> in) {
  const Value x = in[0];
  const Node& stats = x.graph().add(kChannelStats, {x});
  Value mean = stats.output(0), variance = stats.output(1);
  if (const std::int64_t ranks = node.attrs().integer("ranks"); ranks > 1) {
    const std::vector<Value> joint = ops::joint_moments(mean, variance, ranks);
    mean = joint[0];
    variance = joint[1];
  }
  const Value scale = in[1] * ops::rsqrt(variance + node.attrs().real("epsilon"));
  const Shape& shape = x.shape();
  const Value y = (x - along_channels(mean, shape)) * along_channels(scale, shape) +
                  along_channels(in[2], shape);
  return {y, mean, variance};
}

// With r = rsqrt(var + eps), xc = x - mean, S = sum dy, D = sum dy xc:
// dx = gamma r (dy - S / N - xc r^2 D / N), dgamma = r D, dbeta = S; and what flows into mean and
// variance. Of several ranks S / N and D / N are those of all, as means over the ranks of what each
// has; gradients of parameters are each rank's own, as everywhere.
std::vector<Value> grad_train(const GradArgs& args) {
  const Value x = args.in(0), gamma = args.in(1);
  const Shape& shape = x.shape();
  const Value mean = args.out(1), variance = args.out(2);
  const Value n = ops::count(x, other_axes(shape));
  const std::int64_t ranks = args.node.attrs().integer("ranks");
  const auto joint = [ranks](std::vector<Value> values) {
    return ranks == 1 ? values : ops::all_reduce(values, ranks);
  };
  std::vector<Value> out(3);
  Value dy_factor, x_factor, constant;  // dx = dy * dy_factor + (x - mean) * x_factor + constant
  if (const Value dy = args.grad(0)) {
    const Node& sums = x.graph().add(kChannelProducts, {dy, x, mean});
    const Value sum = sums.output(0), dot = sums.output(1);
    const Value r = ops::rsqrt(variance + args.node.attrs().real("epsilon"));
    const std::vector<Value> all = joint({sum, dot});
    dy_factor = gamma * r;
    x_factor = -(dy_factor * r * r * all[1] / n);
    constant = -(dy_factor * all[0] / n);
    out[1] = r * dot;
    out[2] = sum;
  }
  if (args.grad(2)) {
    const Value more = joint({args.grad(2)})[0] * (2.0 / n);
    x_factor = x_factor ? x_factor + more : more;
  }
  if (args.grad(1)) {
    const Value more = joint({args.grad(1)})[0] / n;
    constant = constant ? constant + more : more;
  }
  if (!args.wants(0)) return out;
  Value dx;
  const auto accumulate = [&](Value term) { dx = dx ? dx + term : term; };
  if (dy_factor) accumulate(args.grad(0) * along_channels(dy_factor, shape));
  if (x_factor) accumulate((x - along_channels(mean, shape)) * along_channels(x_factor, shape));
  if (constant) {
    const Value term = along_channels(constant, shape);
    accumulate(dx ? term : ops::broadcast_to(term, shape));
  }
  out[0] = dx;
  return out;
}

// ---- kernels ----

KernelPlan prepare_stats(const KernelQuery& query, CpuFeatures features) {
  const TensorType& type = query.node.input(0).type();
  const bool blocked = is_blocked(type);
  const PlaneSums sums(type.shape, blocked, &norm_kernels(features));
  KernelPlan plan;
  plan.scratch_bytes = sums.scratch_bytes();
  plan.flops = 4.0 * static_cast<double>(type.shape.numel());
  plan.run = [sums, blocked](const KernelArgs& args) {
    const float* x = args.in(0).as<const float>();
    auto* scratch = reinterpret_cast<float*>(args.scratch);
    // Squares of deviations from a value of the channel do not cancel as plain squares would.
    sums.run(scratch, [&](std::int64_t at, std::int64_t first, float* sum, float* square) {
      const float* shift = x + first * sums.pixels;  // of the first image
      sums.kernels->moments[blocked](x + at, sums.pixels, shift, sum, square);
    });
    const auto count = static_cast<double>(sums.n * sums.pixels);
    float* mean = args.out(0).as<float>();
    float* variance = args.out(1).as<float>();
    sums.total(scratch, [&](std::int64_t c, double sum, double square) {
      const std::int64_t lane = c % sums.lanes;
      const double shift = x[(c - lane) * sums.pixels + lane], m = sum / count;
      mean[c] = static_cast<float>(shift + m);
      variance[c] = static_cast<float>(std::max(0.0, square / count - m * m));
    });
  };
  return plan;
}

// Makes dy block by block, beside what it is multiplied with. Operands are images like x, channel
// vectors or scalars.
class Prologue {
 public:
  static constexpr std::int64_t kPixels = 32;  // of a block of channels, made at once

  Prologue(const Node& node, const PlaneSums& sums, bool blocked, CpuFeatures features)
      : blocked_(blocked),
        program_(*node.attrs().program("prologue"), node.inputs().subspan(3), 3,
                 {node.input(1).shape(), 1, blocked}, features),
        pixels_(blocked ? kPixels : kPixels * kLayoutBlock),
        channels_(sums.c) {}

  static std::string refuses(const Node& node) {
    if (!node.attrs().program("prologue")) return {};
    const Shape& x = node.input(1).shape();
    if (x.rank() != 4) return "a prologue needs images";
    for (std::size_t i = 3; i < node.inputs().size(); ++i) {
      const Shape& s = node.inputs()[i].shape();
      const auto strides = broadcast_strides(s, x);
      if (!(s == x) && (strides[0] != 0 || strides[2] != 0 || strides[3] != 0))
        return "a prologue operand is neither an image, a channel vector nor a scalar";
    }
    return {};
  }

  std::int64_t pixels() const { return pixels_; }  // made at once

  // The channel operands of a plane, whose channels start at `channel`: each repeated for the
  // pixels made at once, with zeros behind the last channel.
  struct Plane {
    alignas(64) float channels[kMaxProgramOperands][kPixels * kLayoutBlock];
  };
  void bind(const KernelArgs& args, std::int64_t channel, std::int64_t pixels, Plane& plane) const {
    if (!blocked_) return;
    const auto& kinds = program_.kinds();
    const std::int64_t lanes = std::min(kLayoutBlock, channels_ - channel);
    const std::int64_t repeat = std::min(pixels, kPixels);
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      if (kinds[i] != OperandKind::row) continue;
      float* to = plane.channels[i];
      std::fill(std::copy_n(args.inputs[i + 2].as<const float>() + channel, lanes, to),
                to + kLayoutBlock, 0.0f);
      for (std::int64_t r = 1; r < repeat; ++r)
        std::copy_n(to, kLayoutBlock, to + r * kLayoutBlock);
    }
  }

  // dy of pixels [first, first + count) of the plane at `at`.
  void run(const KernelArgs& args, const Plane& plane, std::int64_t at, std::int64_t channel,
           std::int64_t first, std::int64_t count, float* dy) const {
    ProgramInput in[kMaxProgramOperands];
    const std::int64_t lanes = blocked_ ? kLayoutBlock : 1, offset = at + first * lanes;
    const auto& kinds = program_.kinds();
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      const float* data = args.inputs[i == 0 ? 0 : i + 2].as<const float>();
      if (kinds[i] == OperandKind::full) {
        in[i] = {data + offset, 0};
      } else if (kinds[i] == OperandKind::row) {
        in[i] = {plane.channels[i], 0};
      } else {
        in[i] = {data + (kinds[i] == OperandKind::column ? channel : 0), 0};
      }
    }
    const ProgramOutput out[] = {{dy, 0}};
    program_.runner().run(1, count * lanes, in, out);
  }

 private:
  bool blocked_;
  CarriedProgram program_;
  std::int64_t pixels_, channels_;
};

std::string refuses_products(const KernelQuery& query) {
  if (auto reason = refuses_other_layouts(query); !reason.empty()) return reason;
  return Prologue::refuses(query.node);
}

KernelPlan prepare_products(const KernelQuery& query, CpuFeatures features) {
  const Node& node = query.node;
  const TensorType& type = node.input(1).type();
  bool blocked = false;
  for (const Value v : node.inputs()) blocked = blocked || is_blocked(v.type());
  const PlaneSums sums(type.shape, blocked, &norm_kernels(features));
  KernelPlan plan;
  plan.scratch_bytes = sums.scratch_bytes();
  plan.flops = 4.0 * static_cast<double>(type.shape.numel());
  for (const Value v : node.inputs()) {
    const bool image = v.shape() == type.shape;
    plan.packs.push_back(blocked && image ? as_blocked(v.type()) : std::nullopt);
  }
  std::shared_ptr<const Prologue> prologue;
  if (node.attrs().program("prologue"))
    prologue = std::make_shared<const Prologue>(node, sums, blocked, features);
  plan.run = [sums, blocked, prologue](const KernelArgs& args) {
    const float* x = args.in(1).as<const float>();
    const float* mean = args.in(2).as<const float>();
    auto* scratch = reinterpret_cast<float*>(args.scratch);
    sums.run(scratch, [&](std::int64_t at, std::int64_t first, float* sum, float* dot) {
      float padded[kLayoutBlock];
      const float* shift = sums.channel(mean, first, padded);
      const auto products = sums.kernels->products[blocked];
      if (!prologue) {
        products(args.in(0).as<const float>() + at, x + at, sums.pixels, shift, sum, dot);
        return;
      }
      alignas(64) float dy[Prologue::kPixels * kLayoutBlock];
      Prologue::Plane plane;
      prologue->bind(args, first, sums.pixels, plane);
      std::fill_n(sum, sums.lanes, 0.0f);
      std::fill_n(dot, sums.lanes, 0.0f);
      for (std::int64_t p = 0; p < sums.pixels; p += prologue->pixels()) {
        const std::int64_t count = std::min(prologue->pixels(), sums.pixels - p);
        prologue->run(args, plane, at, first, p, count, dy);
        float part_sum[kLayoutBlock], part_dot[kLayoutBlock];
        products(dy, x + at + p * sums.lanes, count, shift, part_sum, part_dot);
        for (std::int64_t l = 0; l < sums.lanes; ++l) {
          sum[l] += part_sum[l];
          dot[l] += part_dot[l];
        }
      }
    });
    float* sum = args.out(0).as<float>();
    float* dot = args.out(1).as<float>();
    sums.total(scratch, [&](std::int64_t c, double a, double b) {
      sum[c] = static_cast<float>(a);
      dot[c] = static_cast<float>(b);
    });
  };
  return plan;
}

using Prepare = KernelPlan (*)(const KernelQuery&, CpuFeatures);
using Refuses = std::string (*)(const KernelQuery&);
template <Prepare prepare, Refuses refuses>
constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"channel_avx512", kAvx512, refuses, [](const KernelQuery& q) { return prepare(q, kAvx512); }},
    {"channel_avx2", kAvx2, refuses, [](const KernelQuery& q) { return prepare(q, kAvx2); }},
#endif
    {"channel_plain", kScalar, refuses, [](const KernelQuery& q) { return prepare(q, kScalar); }},
    kRefRow,
};

// ---- samples ----

std::optional<Shape> sample_image(int index) {
  static const Shape shapes[] = {{4, 3},        {2, 1, 1, 1}, {2, 3, 5, 4},  {3, 16, 6, 6},
                                 {2, 17, 9, 1}, {5, 2, 7},    {1, 40, 9, 8}, {2, 5, 300}};
  if (index >= static_cast<int>(std::size(shapes))) return std::nullopt;
  return shapes[index];
}
std::optional<Sample> sample_stats(Rng&, int index) {
  const auto x = sample_image(index);
  if (!x) return std::nullopt;
  return Sample{{{{DType::f32, *x, {}}, index % 2 ? -1.0 : 2.0, index % 2 ? 1.0 : 4.0}}, {}};
}
std::optional<Sample> sample_products(Rng&, int index) {
  constexpr int kPlain = 8;
  const auto x = sample_image(index < kPlain ? index : 2 * (index - kPlain) + 2);
  if (!x || index >= kPlain + 3) return std::nullopt;
  const TensorType type{DType::f32, *x, {}};
  Sample out{{{type}, {type}, {{DType::f32, Shape{(*x)[1]}, {}}}}, {}};
  if (index >= kPlain) {
    // Behind an activation; not differentiable.
    out.attrs.set("prologue", sample_program("t0=mul(a1,a2);t1=add(t0,a3);t2=greater(t1,0);"
                                             "t3=where(t2,a0,0)->t3"));
    out.inputs.push_back({type});
    out.inputs.push_back({{DType::f32, Shape{(*x)[1], 1, 1}, {}}});
    out.inputs.push_back({{DType::f32, {}, {}}});
  }
  return out;
}
std::optional<Sample> sample_train(Rng&, int index) {
  const auto x = sample_image(index);
  if (!x) return std::nullopt;
  const TensorType channel{DType::f32, Shape{(*x)[1]}, {}};
  return Sample{{{{DType::f32, *x, {}}, -2.0, 2.0}, {channel, 0.5, 1.5}, {channel}},
                {{"epsilon", 0.1}}};
}

}  // namespace

const OpDef kChannelStats{.name = "channel_stats",
                          .doc = "mean and variance of each channel (axis 1)",
                          .inputs = {{.name = "x", .image = true}},
                          .traits = kReduction,
                          .infer = infer_stats,
                          .grad = grad_stats,
                          .ref = ref_stats,
                          .sample = sample_stats,
                          .rows = kRows<prepare_stats, refuses_other_layouts>};
const OpDef kChannelProducts{
    .name = "channel_products",
    .doc = "sum dy and sum dy (x - mean) of each channel (axis 1)",
    .inputs = {{.name = "dy", .image = true},
               {.name = "x", .image = true},
               {.name = "mean"},
               {.name = "prologue operand", .optional = true, .image = true, .variadic = true}},
    .attrs = {{"prologue", AttrKind::program, ProgramRef()}},
    .traits = kReduction | kPrologue,
    .infer = infer_products,
    .grad = grad_products,
    .ref = ref_products,
    .sample = sample_products,
    .rows = kRows<prepare_products, refuses_products>};
const OpDef kBatchNormTrain{
    .name = "batch_norm_train",
    .doc =
        "y = gamma (x - mean) / sqrt(variance + epsilon) + beta, with this batch's mean and "
        "variance",
    .inputs = {{.name = "x"}, {.name = "gamma"}, {.name = "beta"}},
    .attrs = {{"epsilon", AttrKind::real, 1e-5}, {"ranks", AttrKind::integer, std::int64_t{1}}},
    .infer = infer_train,
    .grad = grad_train,
    .decompose = decompose_train,
    .sample = sample_train};

namespace ops {

BatchNormResult batch_norm_train(Value x, Value gamma, Value beta, double epsilon,
                                 std::int64_t ranks) {
  const Value y =
      make_node(kBatchNormTrain, {x, gamma, beta}, {{"epsilon", epsilon}, {"ranks", ranks}});
  return {y, y.node->output(1), y.node->output(2)};
}

Value batch_norm(Value x, Value gamma, Value beta, Value mean, Value variance, double epsilon) {
  check(x && x.shape().rank() >= 2, "[batch_norm] expected x f32[n, channels, ...]");
  const Value scale = gamma * rsqrt(variance + epsilon);
  const Shape& shape = x.shape();
  return x * along_channels(scale, shape) + along_channels(beta - mean * scale, shape);
}

}  // namespace ops
}  // namespace tessera
