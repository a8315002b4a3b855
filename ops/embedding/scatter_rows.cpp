// scatter_rows(table f32|bf16 [n, d], index s32[m], rows f32[m, d]) -> table's type:
//   y[index[i]] = rows[i], rounded to nearest even in bf16; all other rows as they were. Of equal
//   numbers the last one wins. Written over its table where the plan allows: a step then costs what
//   its m rows cost.
#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/index.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kGrain = 32768;  // elements worth another thread

std::vector<TensorType> infer(const InferArgs& args) {
  const TensorType& table = args.in(0);
  args.require_rank(0, 2);
  args.require(
      !table.shape.is_symbolic() && (table.dtype == DType::f32 || table.dtype == DType::bf16),
      "expected a table f32 or bf16 [n, d], got ", table);
  args.require_dtype(1, DType::s32);
  args.require_rank(1, 1);
  const TensorType wanted{DType::f32, Shape{args.shape(1)[0], table.shape[1]}, {}};
  args.require(args.in(2).dense() == wanted, "table ", table, " and index ", args.in(1),
               " need rows ", wanted, ", got ", args.in(2));
  return {table.dense()};
}

void ref(const RefArgs& args) {
  const Shape& shape = args.in(0).type.shape;
  const auto& index = args.in(1).v;
  check_row_index("scatter_rows", index.data(), args.in(1).numel(), shape[0].value());
  const std::int64_t d = shape[1].value();
  const bool rounds = args.out().type.dtype == DType::bf16;
  args.out().v = args.in(0).v;
  for (std::int64_t i = 0; i < args.in(2).numel(); ++i) {
    const double v = args.in(2).v[static_cast<std::size_t>(i)];
    const auto row = static_cast<std::int64_t>(index[static_cast<std::size_t>(i / d)]);
    args.out().v[static_cast<std::size_t>(row * d + i % d)] =
        rounds ? f32_from_bf16(bf16_from_f32(static_cast<float>(v))) : v;
  }
}

std::optional<Sample> sample(Rng& rng, int index) {
  struct Case {
    std::int64_t n, d, m;
    DType dtype;
  };
  const Case cases[] = {
      {1, 1, 1, DType::f32},    {5, 7, 3, DType::f32}, {4, 3, 9, DType::f32},
      {9, 33, 6, DType::bf16},  {6, 4, 6, DType::f32}, {300, 64, 1200, DType::f32},
      {70, 5, 40, DType::bf16},
  };
  if (index >= static_cast<int>(std::size(cases))) return std::nullopt;
  const auto& [n, d, m, dtype] = cases[index];
  SampleInput rows{s32({m})};
  for (std::int64_t i = 0; i < m; ++i)
    rows.values.push_back(static_cast<double>(rng.below(static_cast<std::uint64_t>(n))));
  return Sample{{{{dtype, Shape{n, d}, {}}}, rows, {f32({m, d})}}, {}};
}

void store_row(const float* from, std::int64_t d, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(d) * sizeof(float));
}
void store_row(const float* from, std::int64_t d, std::uint16_t* to) {
  for (std::int64_t j = 0; j < d; ++j) to[j] = bf16_from_f32(from[j]);
}

template <class T>
KernelPlan prepare_as(const KernelQuery& query) {
  const Shape& shape = query.node.types()[0].shape;
  const std::int64_t n = shape[0].value(), d = shape[1].value();
  const std::int64_t m = query.node.input(1).shape().numel();
  KernelPlan plan;
  // Over its table, never over the new rows.
  plan.in_place = query.node.input(2).type() != query.node.types()[0];
  plan.run = [=](const KernelArgs& args) {
    const T* table = args.in(0).as<const T>();
    const auto* index = args.in(1).as<const std::int32_t>();
    const float* rows = args.in(2).as<const float>();
    T* out = args.out().as<T>();
    check_row_index("scatter_rows", index, m, n);
    if (out != table) {
      parallel_for(n * d, kGrain, [&](std::int64_t begin, std::int64_t end) {
        std::copy(table + begin, table + end, out + begin);
      });
    }
    // Each thread has a range of the table, so that equal numbers meet in one of them, in order.
    const std::int64_t grain = 1 + (n - 1) / (1 + m * d / kGrain);
    parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = 0; i < m; ++i) {
        if (index[i] >= begin && index[i] < end) store_row(rows + i * d, d, out + index[i] * d);
      }
    });
  };
  return plan;
}

KernelPlan prepare(const KernelQuery& query) {
  return query.node.types()[0].dtype == DType::f32 ? prepare_as<float>(query)
                                                   : prepare_as<std::uint16_t>(query);
}

constexpr KernelRow kRows[] = {
    {"rows", kScalar, refuses_encoded, prepare},
    kRefRow,
};

}  // namespace

const OpDef kScatterRows{.name = "scatter_rows",
                         .doc = "table with row index[i] replaced by rows[i]; the last one wins",
                         .inputs = {{.name = "table", .differentiable = false},
                                    {.name = "index", .differentiable = false},
                                    {.name = "rows", .differentiable = false}},
                         .infer = infer,
                         .ref = ref,
                         .sample = sample,
                         .rows = kRows};

namespace ops {

Value scatter_rows(Value table, Value index, Value rows) {
  return make_node(kScatterRows, {table, index, rows});
}

}  // namespace ops
}  // namespace tessera
