// uniform(seed s64[], step s64[]) {shape, id} -> f32 in [0, 1) with 24 random bits. Element i is a
// pure function of (seed, id, step, i): Philox keyed by the seed, on a stream made of id and step.
// So results do not depend on threads or on what ran before, and a resumed run repeats them. `id`
// comes from the stable name of the layer (stable_id).
//
// Where several ranks make the rows of one batch, `rank` says which are made here: the elements are
// those that the joint value, `ranks` times as long along `axis`, has in their places.
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

// Where elements of this rank lie in the joint value: blocks of `length`, the first one behind
// `rank` of them, the next ones `ranks` apart.
struct Blocks {
  std::int64_t length = 0, ranks = 1;

  explicit Blocks(const Node& node) : length(node.types()[0].shape.numel()) {
    const Shape& shape = node.types()[0].shape;
    const std::int64_t axis = node.attrs().integer("axis");
    if (axis < 0) return;
    ranks = node.attrs().integer("ranks");
    length = product(shape, static_cast<int>(axis), shape.rank());
  }
  std::int64_t place(std::int64_t element, std::int64_t rank) const {
    if (ranks == 1 || length == 0) return element;
    return (element / length * ranks + rank) * length + element % length;
  }
};

constexpr std::int64_t kMostRanks = 65536;

std::vector<TensorType> infer(const InferArgs& args) {
  for (int i = 0; i < 3; ++i) {
    if (!args.has(i)) continue;
    args.require_dtype(i, DType::s64);
    args.require_rank(i, 0);
  }
  const std::int64_t ranks = args.attrs.integer("ranks"), axis = args.attrs.integer("axis");
  const Shape& shape = args.attrs.shape("shape");
  args.require(ranks >= 1 && ranks <= kMostRanks, "expected 1 to ", kMostRanks, " ranks, got ",
               ranks);
  args.require(axis >= -1 && axis < shape.rank(), shape, " has no axis ", axis);
  args.require(args.has(2) == (axis >= 0), "a rank and the axis that ranks share go together");
  return {{DType::f32, shape, {}}};
}

void ref(const RefArgs& args) {
  const auto seed = static_cast<std::uint64_t>(static_cast<std::int64_t>(args.in(0).v[0]));
  const auto step = static_cast<std::uint64_t>(static_cast<std::int64_t>(args.in(1).v[0]));
  const auto id = static_cast<std::uint64_t>(args.node.attrs().integer("id"));
  const Blocks blocks(args.node);
  const auto rank = args.inputs.size() > 2 && args.inputs[2] != nullptr
                        ? static_cast<std::int64_t>(args.in(2).v[0])
                        : 0;
  for (std::size_t i = 0; i < args.out().v.size(); ++i) {
    const std::int64_t at = blocks.place(static_cast<std::int64_t>(i), rank);
    args.out().v[i] = uniform_at(seed, stream_of(id, step), static_cast<std::uint64_t>(at));
  }
}

std::optional<Sample> sample(Rng& rng, int index) {
  if (index >= kSamples) return std::nullopt;
  const TensorType scalar{DType::s64, {}, {}};
  Sample out{{{scalar, 0, 0, {static_cast<double>(rng.below(1000))}},
              {scalar, 0, 0, {static_cast<double>(rng.below(1000))}}},
             {{"shape", index == 7 ? Shape{70000} : sample_shape(rng, index)},
              {"id", std::int64_t{index} * 977 - 3}}};
  if (index % 2 == 1) {  // part of a joint value, along the first axis or the second
    out.inputs.push_back({scalar, 0, 0, {static_cast<double>(index % 3)}});
    out.attrs.set("ranks", std::int64_t{3});
    out.attrs.set("axis", std::int64_t{index == 3 ? 1 : 0});
  }
  return out;
}

// Numbers [first, first + n) of a stream; kernels begin at multiples of 4.
void numbers(const RandomKernels& kernels, std::uint64_t seed, std::uint64_t stream,
             std::int64_t first, std::int64_t n, float* out) {
  float head[4];
  const std::int64_t over = first % 4;
  if (over != 0 && n > 0) {
    const std::int64_t count = std::min(n, 4 - over);
    kernels.uniform(seed, stream, first - over, 4, head);
    std::copy_n(head + over, count, out);
    first += count;
    n -= count;
    out += count;
  }
  if (n > 0) kernels.uniform(seed, stream, first, n, out);
}

KernelPlan prepare(const KernelQuery& query, const RandomKernels& kernels) {
  const std::int64_t n = query.node.types()[0].shape.numel();
  const auto id = static_cast<std::uint64_t>(query.node.attrs().integer("id"));
  KernelPlan plan;
  plan.run = [n, id, blocks = Blocks(query.node), &kernels](const KernelArgs& args) {
    const std::int64_t rank = args.inputs.size() > 2 && args.in(2).plane[0] != nullptr
                                  ? *args.in(2).as<const std::int64_t>()
                                  : 0;
    const auto seed = static_cast<std::uint64_t>(*args.in(0).as<const std::int64_t>());
    const auto step = static_cast<std::uint64_t>(*args.in(1).as<const std::int64_t>());
    const std::uint64_t stream = stream_of(id, step);
    float* out = args.out().as<float>();
    parallel_for((n + kChunk - 1) / kChunk, 1, [&](std::int64_t begin, std::int64_t end) {
      std::int64_t first = begin * kChunk;
      const std::int64_t last = std::min(n, end * kChunk);
      while (first < last) {  // a block at a time
        const std::int64_t count =
            blocks.ranks == 1 ? last - first
                              : std::min(last - first, blocks.length - first % blocks.length);
        numbers(kernels, seed, stream, blocks.place(first, rank), count, out + first);
        first += count;
      }
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
                                {.name = "step", .differentiable = false},
                                {.name = "rank", .differentiable = false, .optional = true}},
                     .attrs = {{"shape", AttrKind::shape, {}},
                               {"id", AttrKind::integer, {}},
                               {"ranks", AttrKind::integer, std::int64_t{1}},
                               {"axis", AttrKind::integer, std::int64_t{-1}}},
                     .traits = kRandom,
                     .infer = infer,
                     .ref = ref,
                     .sample = sample,
                     .rows = kRows};

namespace ops {

Value uniform(Value seed, Value step, const Shape& shape, std::int64_t id) {
  return make_node(kUniform, {seed, step}, {{"shape", shape}, {"id", id}});
}

Value uniform(Value seed, Value step, const Shape& shape, std::int64_t id, const JointRows& joint) {
  std::int64_t axis = 0;
  while (axis < shape.rank() && !shape[static_cast<int>(axis)].is_symbolic()) ++axis;
  if (joint.ranks == 1 || axis == shape.rank()) return uniform(seed, step, shape, id);
  return make_node(kUniform, {seed, step, joint.rank},
                   {{"shape", shape}, {"id", id}, {"ranks", joint.ranks}, {"axis", axis}});
}

Value dropout(Value x, double p, Value seed, Value step, std::string_view name,
              const JointRows& joint) {
  check(static_cast<bool>(x), "[dropout] x is not a value");
  check(p >= 0 && p < 1, "[dropout] probability must be in [0, 1), got ", p);
  if (p == 0) return x;
  const auto id = static_cast<std::int64_t>(stable_id(name));
  const Value kept = greater_equal(uniform(seed, step, x.shape(), id, joint), p);
  return x * (kept * (1 / (1 - p)));
}

}  // namespace ops
}  // namespace tessera
