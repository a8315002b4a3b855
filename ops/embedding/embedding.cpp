// embedding(table f32|bf16 [n, d], index s32[...]) -> f32[..., d]: y[i] = table[index[i]].
// embedding_grad(dy f32[..., d], index) {rows = n} -> f32[n, d]:
//   d table[r] = sum over i with index[i] = r of dy[i], f32, in order of i whatever the threads:
// they share the columns.
#include "ops/embedding/embedding.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/codebook/decode.h"
#include "ops/codebook/node_view.h"
#include "ops/embedding/index.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 32768;  // elements worth another thread
constexpr std::int64_t kColumns = 16;   // a cache line of floats

std::vector<TensorType> infer(const InferArgs& args) {
  const TensorType& table = args.in(0);
  args.require_rank(0, 2);
  args.require(
      !table.shape.is_symbolic() && (table.dtype == DType::f32 || table.dtype == DType::bf16),
      "expected a table f32 or bf16 [n, d], got ", table);
  args.require_dtype(1, DType::s32);
  Shape out = args.shape(1);
  out.push_back(table.shape[1]);
  return {{DType::f32, out, {}}};
}

std::vector<Value> grad(const GradArgs& args) {
  const TensorType& table = args.in(0).type();
  check(table.dtype == DType::f32, "[embedding] tables train in f32, got ", table);
  const Node& node = args.in(0).graph().add(kEmbeddingGrad, {args.grad(), args.in(1)},
                                            {{"rows", table.shape[0].value()}});
  return {node.output(), Value()};
}

std::vector<TensorType> infer_grad(const InferArgs& args) {
  const std::int64_t rows = args.attrs.integer("rows");
  args.require(rows >= 0, "rows must not be negative, got ", rows);
  args.require_dtype(0, DType::f32);
  args.require_dtype(1, DType::s32);
  const Shape& dy = args.shape(0);
  args.require(dy.rank() >= 1, "expected dy [..., d], got ", args.in(0));
  Shape wanted = args.shape(1);
  wanted.push_back(dy[dy.rank() - 1]);
  args.require(dy == wanted, "index ", args.in(1), " needs dy f32", wanted, ", got ", args.in(0));
  return {{DType::f32, Shape{rows, dy[dy.rank() - 1]}, {}}};
}

void ref(const RefArgs& args) {
  const Shape& shape = args.in(0).type.shape;
  const auto& index = args.in(1).v;
  check_row_index("embedding", index.data(), args.in(1).numel(), shape[0].value());
  const std::int64_t d = shape[1].value();
  for (std::int64_t i = 0; i < args.out().numel(); ++i) {
    const auto row = static_cast<std::int64_t>(index[static_cast<std::size_t>(i / d)]);
    args.out().v[static_cast<std::size_t>(i)] =
        args.in(0).v[static_cast<std::size_t>(row * d + i % d)];
  }
}

void ref_grad(const RefArgs& args) {
  const Shape& shape = args.out().type.shape;
  const auto& index = args.in(1).v;
  check_row_index("embedding_grad", index.data(), args.in(1).numel(), shape[0].value());
  const std::int64_t d = shape[1].value();
  for (std::int64_t i = 0; i < args.in(0).numel(); ++i) {
    const auto row = static_cast<std::int64_t>(index[static_cast<std::size_t>(i / d)]);
    args.out().v[static_cast<std::size_t>(row * d + i % d)] +=
        args.in(0).v[static_cast<std::size_t>(i)];
  }
}

template <bool with_grad>
std::optional<Sample> sample(Rng& rng, int index) {
  struct Case {
    std::int64_t n, d;
    Shape index;
    DType dtype;
  };
  const Case cases[] = {
      {1, 1, {1}, DType::f32},        {5, 7, Shape(), DType::f32},
      {6, 4, {9}, DType::f32},        {9, 33, {3, 5}, DType::bf16},
      {7, 18, {2, 1, 8}, DType::f32}, {300, 50, {40, 50}, DType::f32},
      {64, 128, {999}, DType::bf16},
  };
  if (index >= static_cast<int>(std::size(cases))) return std::nullopt;
  const auto& [n, d, shape, dtype] = cases[index];
  SampleInput rows{{DType::s32, shape, {}}};
  for (std::int64_t i = 0; i < shape.numel(); ++i)
    rows.values.push_back(static_cast<double>(rng.below(static_cast<std::uint64_t>(n))));
  if (!with_grad) return Sample{{{{dtype, Shape{n, d}, {}}}, rows}, {}};
  Shape dy = shape;
  dy.push_back(d);
  return Sample{{{{DType::f32, dy, {}}}, rows}, {{"rows", n}}};
}

// Sizes of a lookup and what every row of it shares.
struct Lookup {
  std::int64_t n, d, count;
  explicit Lookup(const Node& node)
      : n(node.input(0).shape()[0].value()),
        d(node.input(0).shape()[1].value()),
        count(node.input(1).shape().numel()) {}

  // Calls fn(row, to) for every index.
  template <class Fn>
  void each(const KernelArgs& args, Fn&& fn) const {
    const auto* index = args.in(1).as<const std::int32_t>();
    check_row_index("embedding", index, count, n);
    parallel_for(count, 1 + kGrain / (d + 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) fn(index[i], args.out().as<float>() + i * d);
    });
  }
};

KernelPlan prepare_dense(const KernelQuery& query) {
  const Lookup lookup(query.node);
  KernelPlan plan;
  if (query.node.input(0).type().dtype == DType::bf16) {
    plan.run = [lookup](const KernelArgs& args) {
      lookup.each(args, [&](std::int64_t row, float* to) {
        const auto* from = args.in(0).as<const std::uint16_t>() + row * lookup.d;
        for (std::int64_t j = 0; j < lookup.d; ++j) {
          const std::uint32_t bits = std::uint32_t{from[j]} << 16;
          std::memcpy(to + j, &bits, sizeof bits);
        }
      });
    };
    return plan;
  }
  plan.run = [lookup](const KernelArgs& args) {
    const auto bytes = static_cast<std::size_t>(lookup.d) * sizeof(float);
    lookup.each(args, [&](std::int64_t row, float* to) {
      std::memcpy(to, args.in(0).as<const float>() + row * lookup.d, bytes);
    });
  };
  return plan;
}

std::string refuses_codebook(const KernelQuery& query) {
  const Encoding& encoding = query.node.input(0).type().encoding;
  if (!encoding.is_codebook()) return "the table is dense";
  return encoding.packed_layout().empty() ? "" : "the table is packed";
}

// Decodes the rows asked for and no others.
template <std::uint32_t kBits>
KernelPlan prepare_codebook(const KernelQuery& query) {
  constexpr CpuFeatures features{kBits};
  constexpr std::size_t kMostTables = 1 << 16;  // bytes; of more groups each row fills its own
  const Lookup lookup(query.node);
  const CodebookView view = view_of(query.node.input(0).type());
  const bool shared = decoder_bytes(view) <= kMostTables;
  KernelPlan plan;
  plan.scratch_bytes = shared ? static_cast<std::int64_t>(decoder_bytes(view)) : 0;
  plan.run = [lookup, view, shared, features](const KernelArgs& args) {
    const CodebookView bound = bind_view(view, args.in(0));
    if (!shared) {
      lookup.each(args, [&](std::int64_t row, float* to) {
        decode_rows(bound, row, row + 1, to, lookup.d, features);
      });
      return;
    }
    const CodebookDecoder decoder = make_decoder(bound, features, args.scratch);
    lookup.each(args,
                [&](std::int64_t row, float* to) { decode_span(decoder, row, 0, lookup.d, to); });
  };
  return plan;
}

KernelPlan prepare_grad(const KernelQuery& query) {
  const Shape& shape = query.node.types()[0].shape;
  const std::int64_t n = shape[0].value(), d = shape[1].value();
  const std::int64_t count = query.node.input(1).shape().numel();
  KernelPlan plan;
  plan.flops = static_cast<double>(count * d);
  plan.run = [=](const KernelArgs& args) {
    const float* dy = args.in(0).as<const float>();
    const auto* index = args.in(1).as<const std::int32_t>();
    float* out = args.out().as<float>();
    check_row_index("embedding_grad", index, count, n);
    parallel_for(n * d, kGrain, [&](std::int64_t begin, std::int64_t end) {
      std::fill(out + begin, out + end, 0.0f);
    });
    const std::int64_t strips = (d + kColumns - 1) / kColumns;
    parallel_for(strips, 1 + kGrain / (count * kColumns + 1),
                 [&](std::int64_t begin, std::int64_t end) {
                   const std::int64_t from = begin * kColumns;
                   const std::int64_t width = std::min(d, end * kColumns) - from;
                   for (std::int64_t i = 0; i < count; ++i) {
                     const float* add = dy + i * d + from;
                     float* to = out + index[i] * d + from;
                     for (std::int64_t j = 0; j < width; ++j) to[j] += add[j];
                   }
                 });
  };
  return plan;
}

constexpr std::uint32_t kBits2 = kAvx2.bits;
constexpr std::uint32_t kBits512 = kBits2 | kAvx512.bits;
constexpr std::uint32_t kBitsVbmi = kBits512 | kVbmi.bits;

// Dense rows are copied and added at the rate of memory by any compiler's loop.
constexpr KernelRow kRows[] = {
    {"embedding_cb_avx512vbmi", {kBitsVbmi}, refuses_codebook, prepare_codebook<kBitsVbmi>},
    {"embedding_cb_avx512", {kBits512}, refuses_codebook, prepare_codebook<kBits512>},
    {"embedding_cb_avx2", kAvx2, refuses_codebook, prepare_codebook<kBits2>},
    {"embedding_cb_plain", kScalar, refuses_codebook, prepare_codebook<0>},
    {"embedding_dense", kScalar, refuses_encoded, prepare_dense},
    kRefRow,
};
constexpr KernelRow kGradRows[] = {
    {"columns", kScalar, refuses_encoded, prepare_grad},
    kRefRow,
};

}  // namespace

const OpDef kEmbedding{
    .name = "embedding",
    .doc = "y[i] = table[index[i]]",
    .inputs = {{.name = "table", .encoded = true}, {.name = "index", .differentiable = false}},
    .infer = infer,
    .grad = grad,
    .ref = ref,
    .sample = sample<false>,
    .rows = kRows};

const OpDef kEmbeddingGrad{
    .name = "embedding_grad",
    .doc = "d table[r] = sum of dy[i] over i with index[i] = r",
    .inputs = {{.name = "dy", .differentiable = false}, {.name = "index", .differentiable = false}},
    .attrs = {{"rows", AttrKind::integer, {}}},
    .infer = infer_grad,
    .ref = ref_grad,
    .sample = sample<true>,
    .rows = kGradRows};

namespace ops {

Value embedding(Value table, Value index) {
  return make_node(kEmbedding, {table, index});
}

}  // namespace ops
}  // namespace tessera
