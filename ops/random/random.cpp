// uniform(seed s64[], step s64[]) {shape, id} -> f32 in [0, 1) with 24 random bits. Element i is a
// pure function of (seed, id, step, i): Philox keyed by the seed, on a stream made of id and step.
// So results do not depend on threads or on what ran before, and a resumed run repeats them. `id`
// comes from the stable name of the layer (stable_id).
//
// dropout is a composition: y = x (u >= p) / (1 - p).
#include "core/parallel.h"
#include "ops/op_common.h"
#include "ops/op_list.h"
#include "ops/random/kernels.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kChunk = 16384;  // a multiple of 4

// SplitMix64's finalizer: neighbouring steps and ids give unrelated streams.
std::uint64_t stream_of(std::uint64_t id, std::uint64_t step) {
  std::uint64_t z = id + 0x9e3779b97f4a7c15ull * (step + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

std::vector<TensorType> infer(const InferArgs& args) {
  for (int i = 0; i < 2; ++i) {
    args.require_dtype(i, DType::s64);
    args.require_rank(i, 0);
  }
  return {{DType::f32, args.attrs.shape("shape"), {}}};
}

void ref(const RefArgs& args) {
  const auto seed = static_cast<std::uint64_t>(static_cast<std::int64_t>(args.in(0).v[0]));
  const auto step = static_cast<std::uint64_t>(static_cast<std::int64_t>(args.in(1).v[0]));
  const auto id = static_cast<std::uint64_t>(args.node.attrs().integer("id"));
  for (std::size_t i = 0; i < args.out().v.size(); ++i) {
    args.out().v[i] = uniform_at(seed, stream_of(id, step), i);
  }
}

std::optional<Sample> sample(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const TensorType scalar{DType::s64, {}, {}};
  return Sample{{{scalar, 0, 0, {static_cast<double>(rng.below(1000))}},
                 {scalar, 0, 0, {static_cast<double>(rng.below(1000))}}},
                {{"shape", index == 7 ? Shape{70000} : sample_shape(rng, index)},
                 {"id", std::int64_t{index} * 977 - 3}}};
}

KernelPlan prepare(const KernelQuery& query, const RandomKernels& kernels) {
  const std::int64_t n = query.node.types()[0].shape.numel();
  const auto id = static_cast<std::uint64_t>(query.node.attrs().integer("id"));
  KernelPlan plan;
  plan.run = [n, id, &kernels](const KernelArgs& args) {
    const auto seed = static_cast<std::uint64_t>(*args.in(0).as<const std::int64_t>());
    const auto step = static_cast<std::uint64_t>(*args.in(1).as<const std::int64_t>());
    const std::uint64_t stream = stream_of(id, step);
    float* out = args.out().as<float>();
    parallel_for((n + kChunk - 1) / kChunk, 1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * kChunk;
      kernels.uniform(seed, stream, first, std::min(n, end * kChunk) - first, out + first);
    });
  };
  return plan;
}

std::string refuses_none(const KernelQuery&) {
  return {};
}

constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"philox_avx512", kAvx512, refuses_none,
     [](const KernelQuery& q) { return prepare(q, tessera_random_avx512); }},
    {"philox_avx2", kAvx2, refuses_none,
     [](const KernelQuery& q) { return prepare(q, tessera_random_avx2); }},
#endif
    {"philox_plain", kScalar, refuses_none,
     [](const KernelQuery& q) { return prepare(q, tessera_random_ref); }},
    kRefRow,
};

}  // namespace

const OpDef kUniform{.name = "uniform",
                     .doc = "uniform in [0, 1), keyed by seed, id and step",
                     .inputs = {{.name = "seed", .differentiable = false},
                                {.name = "step", .differentiable = false}},
                     .attrs = {{"shape", AttrKind::shape, {}}, {"id", AttrKind::integer, {}}},
                     .traits = kRandom,
                     .infer = infer,
                     .ref = ref,
                     .sample = sample,
                     .rows = kRows};

namespace ops {

Value uniform(Value seed, Value step, const Shape& shape, std::int64_t id) {
  return make_node(kUniform, {seed, step}, {{"shape", shape}, {"id", id}});
}

Value dropout(Value x, double p, Value seed, Value step, std::string_view name) {
  check(static_cast<bool>(x), "[dropout] x is not a value");
  check(p >= 0 && p < 1, "[dropout] probability must be in [0, 1), got ", p);
  if (p == 0) return x;
  const auto id = static_cast<std::int64_t>(stable_id(name));
  const Value kept = greater_equal(uniform(seed, step, x.shape(), id), p);
  return x * (kept * (1 / (1 - p)));
}

}  // namespace ops
}  // namespace tessera
