// nearest(w, entries f32[groups, k]) {group_rows} -> entry, neighbour, index:
//   index[i] = argmin_j |w[i] - entries[group(i)][j]|, entry[i] = entries[group(i)][index[i]],
//   neighbour[i] = the next different entry on w[i]'s side of entry[i], or entry[i] without one.
// d entries[g][j] = sum over i with that group and index of d entry[i]; the index is a step
// function of w and entries, so nothing else has a gradient.
#include "ops/codebook/nearest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "core/parallel.h"
#include "ops/codebook/codebook.h"
#include "ops/codebook/nearest_kernels.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kChunk = 1 << 14;  // weights

CodebookFormat format_of(const Attrs& attrs) {
  return {.bits = 8, .group_rows = attrs.integer("group_rows")};
}

std::vector<TensorType> infer(const InferArgs& args) {
  const TensorType& w = args.in(0);
  const TensorType& entries = args.in(1);
  args.require_dtype(0, DType::f32);
  args.require_dtype(1, DType::f32);
  args.require(w.shape.rank() >= 1 && !w.shape.is_symbolic(),
               "expected weights of rank 1 or more, got ", w);
  const CodebookFormat format = format_of(args.attrs);
  args.require(format.group_rows >= 0, "group_rows must not be negative, got ", format.group_rows);
  args.require_rank(1, 2);
  args.require(!entries.shape.is_symbolic() && entries.shape[1].value() >= 1 &&
                   entries.shape[1].value() <= kMaxNearestEntries,
               "expected entries [groups, 1 to ", kMaxNearestEntries, "], got ", entries);
  const Shape wanted = format.entries_shape(w.shape, entries.shape[1].value());
  args.require(entries.shape == wanted, "weights ", w, " with group_rows ", format.group_rows,
               " need entries f32", wanted, ", got ", entries);
  return {w.dense(), w.dense(), {DType::u8, w.shape, {}}};
}

std::vector<Value> grad(const GradArgs& args) {
  const Value w = args.in(0), entries = args.in(1);
  std::vector<Value> out(2);
  if (!args.grad(0) || !args.wants(1)) return out;
  // An index of eight bits is a byte: the plane is the packed stream.
  const CodebookFormat format = format_of(args.node.attrs());
  Attrs attrs = codebook_attrs(format, w.shape());
  attrs.set("entries", entries.shape()[1].value());
  const Value stream = ops::reshape(args.out(2), format.indices_shape(w.shape()));
  out[1] = w.graph().add(kCodebookEntriesGrad, {args.grad(0), stream, Value()}, attrs).output();
  return out;
}

// A group's entries ascending, and where each was. Entries that are trained may cross.
template <class T>
struct Ascending {
  T values[kMaxNearestEntries];
  std::uint8_t places[kMaxNearestEntries];
  bool as_given;

  Ascending(const T* entries, std::int64_t k) {
    std::iota(places, places + k, std::uint8_t{0});
    as_given = std::is_sorted(entries, entries + k);
    if (!as_given) {
      std::stable_sort(places, places + k, [&](int a, int b) { return entries[a] < entries[b]; });
    }
    for (std::int64_t j = 0; j < k; ++j) values[j] = entries[places[j]];
  }
};

// Weights that share entries, at most kChunk of them.
struct Geometry {
  std::int64_t count, group_size, k, chunks_per_group, chunks;

  explicit Geometry(const Node& node) {
    const Shape& shape = node.input(0).shape();
    const std::int64_t rows = node.attrs().integer("group_rows");
    count = shape.numel();
    k = node.input(1).shape()[1].value();
    const std::int64_t together = rows ? std::min(rows, shape[0].value()) : shape[0].value();
    group_size = together * product(shape, 1, shape.rank());
    group_size = std::max<std::int64_t>(1, group_size);
    chunks_per_group = (group_size + kChunk - 1) / kChunk;
    chunks = count ? (count + group_size - 1) / group_size * chunks_per_group : 0;
  }
};

void ref(const RefArgs& args) {
  const Geometry geometry(args.node);
  const std::int64_t k = geometry.k;
  std::optional<Ascending<double>> sorted;
  for (std::int64_t i = 0; i < geometry.count; ++i) {
    const std::int64_t group = i / geometry.group_size;
    if (i % geometry.group_size == 0) sorted.emplace(args.in(1).v.data() + group * k, k);
    const double* entries = sorted->values;
    const auto at = static_cast<std::size_t>(i);
    const double w = args.in(0).v[at];
    std::int64_t index = 0;
    for (std::int64_t j = 0; j + 1 < k; ++j) {
      const double middle = 0.5 * (entries[j] + entries[j + 1]);
      if (w > middle || (w == middle && middle >= 0)) index = j + 1;
    }
    const double entry = entries[index];
    double neighbour = entry;
    if (w >= entry) {
      const double* above = std::upper_bound(entries, entries + k, entry);
      if (above != entries + k) neighbour = *above;
    } else {
      const double* same = std::lower_bound(entries, entries + k, entry);
      if (same != entries) neighbour = same[-1];
    }
    args.out(0).v[at] = entry;
    args.out(1).v[at] = neighbour;
    args.out(2).v[at] = sorted->places[index];
  }
}

double work(const Node& node) {
  return static_cast<double>(node.input(0).shape().numel()) *
         static_cast<double>(node.input(1).shape()[1].value());
}

std::optional<Sample> sample(Rng& rng, int index) {
  struct Case {
    Shape shape;
    std::int64_t group_rows, k;
  };
  const Case cases[] = {
      {{1}, 0, 1},      {{7}, 0, 2},         {{5, 3}, 2, 3},       {{3, 2, 5}, 1, 4},
      {{4, 17}, 0, 7},  {{6, 31}, 4, 16},    {{2, 3, 3, 3}, 0, 9}, {{5, 33}, 2, 19},
      {{3, 70}, 1, 32}, {{4, 65}, 3, 33},    {{400, 50}, 0, 100},  {{2, 300}, 0, 256},
      {{1, 16}, 1, 16}, {{40, 1001}, 20, 5},
  };
  if (index >= static_cast<int>(std::size(cases))) return std::nullopt;
  const auto& [shape, group_rows, k] = cases[index];
  const std::int64_t groups = CodebookFormat{.bits = 8, .group_rows = group_rows}.groups(shape);
  // Far enough apart, and weights far enough from the midpoints, for finite differences.
  const double gap = 2.0 / static_cast<double>(k);
  SampleInput w{{DType::f32, shape, {}}}, entries{{DType::f32, Shape{groups, k}, {}}};
  for (std::int64_t i = 0; i < groups * k; ++i) {
    entries.values.push_back(-1 + gap * (static_cast<double>(i % k) + rng.uniform(0.2f, 0.8f)));
  }
  const std::int64_t group_size = std::max<std::int64_t>(
      1, (group_rows ? group_rows : shape[0].value()) * product(shape, 1, shape.rank()));
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    const double* e = entries.values.data() + i / group_size * k;
    double x = rng.uniform(-1.2f, 1.2f);
    for (std::int64_t j = 0; j + 1 < k; ++j) {
      if (std::fabs(x - 0.5 * (e[j] + e[j + 1])) < 0.05 * gap) x = e[j];
    }
    w.values.push_back(x);
  }
  return Sample{{w, entries}, {{"group_rows", group_rows}}};
}

void make_table(const float* entries, std::int64_t k, NearestTable& table) {
  table.levels = 0;
  while (1 << table.levels < k) ++table.levels;
  const std::int64_t slots = std::max(32, 1 << table.levels);
  cell_limits(entries, k, table.limits);
  std::fill(table.limits + k - 1, table.limits + slots, std::numeric_limits<float>::infinity());
  std::copy(entries, entries + k, table.entries);
  // Equal entries share their neighbours.
  for (std::int64_t j = 0; j < k; ++j) {
    const bool next = j > 0 && entries[j - 1] != entries[j];
    table.below[j] = j == 0 ? entries[0] : next ? entries[j - 1] : table.below[j - 1];
  }
  for (std::int64_t j = k - 1; j >= 0; --j) {
    const bool next = j + 1 < k && entries[j + 1] != entries[j];
    table.above[j] = j + 1 == k ? entries[j] : next ? entries[j + 1] : table.above[j + 1];
  }
  for (float* values : {table.entries, table.below, table.above})
    std::fill(values + k, values + slots, 0.0f);
  for (std::int64_t j = 0; j < k; ++j) {
    table.sides[2 * j] = table.below[j];
    table.sides[2 * j + 1] = table.above[j];
  }
}

KernelPlan prepare(const KernelQuery& query, const NearestKernels& kernels) {
  const Geometry geometry(query.node);
  KernelPlan plan;
  // Weights are read once, element by element; entries are not.
  plan.in_place = query.node.input(0).shape() != query.node.input(1).shape();
  plan.run = [geometry, &kernels](const KernelArgs& args) {
    const float* w = args.in(0).as<const float>();
    const float* entries = args.in(1).as<const float>();
    const auto shifted = [](auto* p, std::int64_t i) { return p ? p + i : p; };
    parallel_for(geometry.chunks, std::max<std::int64_t>(1, kChunk / geometry.group_size),
                 [&](std::int64_t begin, std::int64_t end) {
                   NearestTable table;
                   std::optional<Ascending<float>> sorted;
                   std::int64_t known = -1;
                   for (std::int64_t c = begin; c < end; ++c) {
                     const std::int64_t group = c / geometry.chunks_per_group;
                     if (group != known) {
                       sorted.emplace(entries + group * geometry.k, geometry.k);
                       make_table(sorted->values, geometry.k, table);
                       known = group;
                     }
                     const std::int64_t group_end =
                         std::min(geometry.count, (group + 1) * geometry.group_size);
                     const std::int64_t from =
                         group * geometry.group_size + c % geometry.chunks_per_group * kChunk;
                     const std::int64_t n = std::min(kChunk, group_end - from);
                     if (n <= 0) continue;
                     std::uint8_t* index = shifted(args.out(2).as<std::uint8_t>(), from);
                     kernels.run(table, w + from, n,
                                 {shifted(args.out(0).as<float>(), from),
                                  shifted(args.out(1).as<float>(), from), index});
                     if (sorted->as_given || index == nullptr) continue;
                     for (std::int64_t i = 0; i < n; ++i) index[i] = sorted->places[index[i]];
                   }
                 });
  };
  return plan;
}

constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"nearest_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, tessera_nearest_avx512); }},
    {"nearest_avx2", kAvx2, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, tessera_nearest_avx2); }},
#endif
    {"nearest_plain", kScalar, refuses_encoded,
     [](const KernelQuery& q) { return prepare(q, tessera_nearest_ref); }},
    kRefRow,
};

}  // namespace

void cell_limits(const float* entries, std::int64_t k, float* limits) {
  for (std::int64_t j = 0; j + 1 < k; ++j) {
    const double middle = 0.5 * (static_cast<double>(entries[j]) + entries[j + 1]);
    auto limit = static_cast<float>(middle);
    const bool too_high = middle < 0 ? limit > middle : limit >= middle;
    if (too_high) limit = std::nextafter(limit, -std::numeric_limits<float>::infinity());
    limits[j] = limit;
  }
}

const OpDef kNearest{
    .name = "nearest",
    .doc = "entry, neighbour and index of the codebook entry nearest to each weight",
    .inputs = {{.name = "w", .differentiable = false}, {.name = "entries"}},
    .attrs = {{"group_rows", AttrKind::integer, std::int64_t{0}}},
    .infer = infer,
    .grad = grad,
    .ref = ref,
    .work = work,
    .sample = sample,
    .rows = kRows};

namespace ops {

NearestResult nearest(Value w, Value entries, std::int64_t group_rows) {
  const Node& node = *make_node(kNearest, {w, entries}, {{"group_rows", group_rows}}).node;
  return {node.output(0), node.output(1), node.output(2)};
}

}  // namespace ops
}  // namespace tessera
