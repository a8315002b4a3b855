// cast {dtype}: f32 to bf16 rounds to nearest even, floating to integer truncates toward zero.
// one_hot {classes}: labels s32[...] -> f32[..., classes], 1 at the label and 0 elsewhere; a label
// outside [0, classes) gives a row of zeros.
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "core/tensor.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 32768;

std::vector<TensorType> infer_cast(const InferArgs& args) {
  return {{args.attrs.get<DType>("dtype"), args.shape(0), {}}};
}

std::vector<Value> grad_cast(const GradArgs& args) {
  const DType from = args.in(0).type().dtype;
  if (!is_floating(from) || !is_floating(args.node.types()[0].dtype)) return {Value()};
  return {ops::cast(args.grad(), from)};
}

template <class To>
To saturate(double v) {
  if (std::isnan(v)) return 0;
  const double low = static_cast<double>(std::numeric_limits<To>::min());
  const double high = static_cast<double>(std::numeric_limits<To>::max());
  if (v <= low) return std::numeric_limits<To>::min();
  if (v >= high) return std::numeric_limits<To>::max();
  return static_cast<To>(v);
}

double convert(double v, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return static_cast<float>(v);
    case DType::bf16:
      return f32_from_bf16(bf16_from_f32(static_cast<float>(v)));
    case DType::s8:
      return saturate<std::int8_t>(v);
    case DType::u8:
      return saturate<std::uint8_t>(v);
    case DType::s32:
      return saturate<std::int32_t>(v);
    case DType::s64:
      return static_cast<double>(saturate<std::int64_t>(v));
  }
  return v;
}

void ref_cast(const RefArgs& args) {
  const DType dtype = args.out().type.dtype;
  for (std::size_t i = 0; i < args.out().v.size(); ++i) {
    // f32 stays exact: the reference works in f64.
    args.out().v[i] = dtype == DType::f32 ? args.in(0).v[i] : convert(args.in(0).v[i], dtype);
  }
}

// Calls fn with a null pointer of the type that stores the dtype and the conversions to and from
// f64.
template <class From, class To>
void cast_range(DType from, DType to, const std::byte* x, std::byte* y, std::int64_t begin,
                std::int64_t end) {
  const auto* in = reinterpret_cast<const From*>(x);
  auto* out = reinterpret_cast<To*>(y);
  for (std::int64_t i = begin; i < end; ++i) {
    if constexpr (std::is_integral_v<From> && std::is_same_v<To, float>) {
      out[i] = from == DType::bf16 ? f32_from_bf16(static_cast<std::uint16_t>(in[i]))
                                   : static_cast<float>(in[i]);
    } else {
      const double v = from == DType::bf16 ? f32_from_bf16(static_cast<std::uint16_t>(in[i]))
                                           : static_cast<double>(in[i]);
      if constexpr (std::is_integral_v<To>) {
        out[i] = to == DType::bf16 ? static_cast<To>(bf16_from_f32(static_cast<float>(v)))
                                   : saturate<To>(v);
      } else {
        out[i] = static_cast<To>(v);
      }
    }
  }
}

template <class Fn>
void with_storage(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32:
      return fn(float{});
    case DType::bf16:
      return fn(std::uint16_t{});
    case DType::s8:
      return fn(std::int8_t{});
    case DType::u8:
      return fn(std::uint8_t{});
    case DType::s32:
      return fn(std::int32_t{});
    case DType::s64:
      return fn(std::int64_t{});
  }
}

KernelPlan prepare_cast(const KernelQuery& query) {
  const DType from = query.node.input(0).type().dtype, to = query.node.types()[0].dtype;
  const std::int64_t n = query.node.types()[0].shape.numel();
  KernelPlan plan;
  plan.run = [from, to, n](const KernelArgs& args) {
    with_storage(from, [&]<class From>(From) {
      with_storage(to, [&]<class To>(To) {
        parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
          cast_range<From, To>(from, to, args.in(0).plane[0], args.out().plane[0], begin, end);
        });
      });
    });
  };
  return plan;
}
constexpr KernelRow kCastRows[] = {{"loop", kScalar, refuses_encoded, prepare_cast}, kRefRow};

std::optional<Sample> sample_cast(Rng& rng, int index) {
  constexpr DType from[] = {DType::f32,  DType::f32, DType::f32, DType::s32,
                            DType::bf16, DType::s64, DType::u8,  DType::f32};
  constexpr DType to[] = {DType::bf16, DType::s32, DType::f32, DType::f32,
                          DType::f32,  DType::s32, DType::s64, DType::s8};
  if (index >= 8) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  SampleInput input{{from[index], shape, {}}};
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    const double v = static_cast<double>(i % 41) * 1.3 - 20;
    input.values.push_back(is_floating(from[index]) ? convert(v, from[index])
                                                    : std::floor(std::fabs(v)));
  }
  return Sample{{input}, {{"dtype", to[index]}}};
}

// ---- one_hot ----

std::vector<TensorType> infer_one_hot(const InferArgs& args) {
  args.require_dtype(0, DType::s32);
  const std::int64_t classes = args.attrs.integer("classes");
  args.require(classes >= 1, "classes must be 1 or more, got ", classes);
  Shape out = args.shape(0);
  out.push_back(classes);
  return {{DType::f32, out, {}}};
}

void ref_one_hot(const RefArgs& args) {
  const std::int64_t classes = args.node.attrs().integer("classes");
  for (std::int64_t i = 0; i < args.in(0).numel(); ++i) {
    const auto label = static_cast<std::int64_t>(args.in(0).v[static_cast<std::size_t>(i)]);
    if (label < 0 || label >= classes) continue;
    args.out().v[static_cast<std::size_t>(i * classes + label)] = 1;
  }
}

KernelPlan prepare_one_hot(const KernelQuery& query) {
  const std::int64_t n = query.node.input(0).shape().numel();
  const std::int64_t classes = query.node.attrs().integer("classes");
  KernelPlan plan;
  plan.run = [n, classes](const KernelArgs& args) {
    const auto* labels = args.in(0).as<const std::int32_t>();
    auto* out = args.out().as<float>();
    std::fill_n(out, n * classes, 0.0f);
    for (std::int64_t i = 0; i < n; ++i) {
      if (labels[i] >= 0 && labels[i] < classes) out[i * classes + labels[i]] = 1;
    }
  };
  return plan;
}
constexpr KernelRow kOneHotRows[] = {{"loop", kScalar, refuses_encoded, prepare_one_hot}, kRefRow};

std::optional<Sample> sample_one_hot(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const Shape shape = sample_shape(rng, index);
  SampleInput labels{{DType::s32, shape, {}}};
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    labels.values.push_back(static_cast<double>(rng.below(7)) - 1);
  }
  return Sample{{labels}, {{"classes", std::int64_t{5}}}};
}

}  // namespace

const OpDef kCast{.name = "cast",
                  .doc = "x as another dtype",
                  .inputs = {{"x"}},
                  .attrs = {{"dtype", AttrKind::dtype, {}}},
                  .infer = infer_cast,
                  .grad = grad_cast,
                  .ref = ref_cast,
                  .sample = sample_cast,
                  .rows = kCastRows};
const OpDef kOneHot{.name = "one_hot",
                    .doc = "1 at the label's place of a new last axis, else 0",
                    .inputs = {{.name = "labels", .differentiable = false}},
                    .attrs = {{"classes", AttrKind::integer, {}}},
                    .infer = infer_one_hot,
                    .ref = ref_one_hot,
                    .sample = sample_one_hot,
                    .rows = kOneHotRows};

namespace ops {

Value cast(Value x, DType dtype) {
  if (x && x.type() == TensorType{dtype, x.shape(), {}}) return x;
  return make_node(kCast, {x}, {{"dtype", dtype}});
}
Value one_hot(Value labels, std::int64_t classes) {
  return make_node(kOneHot, {labels}, {{"classes", classes}});
}

}  // namespace ops
}  // namespace tessera
