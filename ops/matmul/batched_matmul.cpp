// batched_matmul: y[..., m, n] = sum_k op(a)[..., m, k] op(b)[..., k, n], op = the last two axes
// swapped when the flag is set. f32, rank 2 and more; the leading axes broadcast by numpy's rule.
// Both operands are dense: what attention multiplies are activations. Accumulator: f32 by fused
// multiply-add in ascending k (f64 in the reference), one element by one thread.
#include <memory>

#include "core/parallel.h"
#include "core/threads.h"
#include "ops/build.h"
#include "ops/elementwise/elementwise.h"
#include "ops/matmul/gemm.h"
#include "ops/matmul/matmul.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

Shape leading(const Shape& shape) {
  return Shape(std::vector<Dim>(shape.dims().begin(), shape.dims().end() - 2));
}

std::vector<TensorType> infer(const InferArgs& args) {
  for (const int i : {0, 1}) {
    args.require_dtype(i, DType::f32);
    args.require(args.shape(i).rank() >= 2, "expected [..., rows, columns], got ",
                 args.in(i).text());
  }
  const bool ta = args.attrs.boolean("transpose_a"), tb = args.attrs.boolean("transpose_b");
  const Shape &a = args.shape(0), &b = args.shape(1);
  const Dim m = a[ta ? -1 : -2], ka = a[ta ? -2 : -1], kb = b[tb ? -1 : -2], n = b[tb ? -2 : -1];
  args.require(ka == kb, "inner dimensions differ: ", args.in(0).text(), ta ? " transposed" : "",
               " and ", args.in(1).text(), tb ? " transposed" : "");
  Shape y = broadcast(leading(a), leading(b), args.op.name);
  y.push_back(m);
  y.push_back(n);
  return {{DType::f32, y, {}}};
}

// As matmul's, and summed over what was broadcast.
std::vector<Value> grad(const GradArgs& args) {
  const bool ta = args.node.attrs().boolean("transpose_a");
  const bool tb = args.node.attrs().boolean("transpose_b");
  const Value a = args.in(0), b = args.in(1), dy = args.grad();
  std::vector<Value> out(2);
  const auto fit = [](Value d, Value x) {
    return d.shape() == x.shape() ? d : ops::sum_to(d, x.shape());
  };
  if (args.wants(0)) {
    out[0] =
        fit(ta ? ops::batched_matmul(b, dy, tb, true) : ops::batched_matmul(dy, b, false, !tb), a);
  }
  if (args.wants(1)) {
    out[1] =
        fit(tb ? ops::batched_matmul(dy, a, true, ta) : ops::batched_matmul(a, dy, !ta, false), b);
  }
  return out;
}

struct Dims {
  bool ta, tb;
  std::int64_t m, n, k;
  std::vector<std::int64_t> a, b;  // where each product's operands begin, in elements
};

Dims dims_of(const Node& node) {
  const Shape &a = node.input(0).shape(), &b = node.input(1).shape(), &y = node.types()[0].shape;
  Dims d{node.attrs().boolean("transpose_a"), node.attrs().boolean("transpose_b"), 0, 0, 0, {}, {}};
  d.m = y[-2].value();
  d.n = y[-1].value();
  d.k = a[d.ta ? -2 : -1].value();
  // Products of nothing have no places: a file may ask for billions of them.
  if (d.m * d.n == 0) return d;
  const int lead = y.rank() - 2;
  const auto starts = [&](const Shape& x, std::int64_t matrix) {
    std::vector<std::int64_t> out = {0};
    std::int64_t step = matrix * product(x, 0, x.rank() - 2);
    for (int axis = 0; axis < lead; ++axis) {
      const int own = axis - (y.rank() - x.rank());
      const std::int64_t size = own < 0 ? 1 : x[own].value();
      if (size > 0) step /= size;
      std::vector<std::int64_t> next;
      for (const std::int64_t at : out) {
        for (std::int64_t i = 0; i < y[axis].value(); ++i)
          next.push_back(at + (size == 1 ? 0 : i * step));
      }
      out = std::move(next);
    }
    return out;
  };
  d.a = starts(a, d.m * d.k);
  d.b = starts(b, d.k * d.n);
  return d;
}

void ref(const RefArgs& args) {
  const Dims d = dims_of(args.node);
  const auto& a = args.in(0).v;
  const auto& b = args.in(1).v;
  auto& y = args.out().v;
  y.clear();
  for (std::size_t batch = 0; batch < d.a.size(); ++batch) {
    for (std::int64_t i = 0; i < d.m; ++i) {
      for (std::int64_t j = 0; j < d.n; ++j) {
        double sum = 0;
        for (std::int64_t q = 0; q < d.k; ++q) {
          const auto at_a = d.a[batch] + (d.ta ? q * d.m + i : i * d.k + q);
          const auto at_b = d.b[batch] + (d.tb ? j * d.k + q : q * d.n + j);
          sum += a[static_cast<std::size_t>(at_a)] * b[static_cast<std::size_t>(at_b)];
        }
        y.push_back(sum);
      }
    }
  }
}

double work(const Node& node) {
  const Shape& a = node.input(0).shape();
  const double depth =
      static_cast<double>(a[node.attrs().boolean("transpose_a") ? -2 : -1].value());
  return static_cast<double>(node.types()[0].shape.numel()) * (depth + 1);
}

std::optional<Sample> sample(Rng& rng, int index) {
  static constexpr std::int64_t kSizes[] = {1, 2, 3, 7, 8, 13, 17, 33};
  static const std::vector<std::int64_t> kLeading[][2] = {
      {{3}, {3}}, {{2, 3}, {2, 3}}, {{2, 1}, {1, 3}}, {{4}, {}},
      {{}, {2}},  {{1}, {1}},       {{5}, {5}},       {{3, 1, 2}, {2, 1}}};
  const auto size = [&] { return kSizes[rng.below(std::size(kSizes))]; };
  const bool ta = index & 1, tb = index & 2;
  const std::int64_t m = size(), n = size(), k = index == 6 ? 130 : size();
  const auto with = [](std::vector<std::int64_t> dims, std::int64_t rows, std::int64_t columns) {
    dims.push_back(rows);
    dims.push_back(columns);
    return TensorType{DType::f32, Shape::of(dims), {}};
  };
  if (index >= 8) return std::nullopt;
  const auto& lead = kLeading[index];
  Sample out;
  out.inputs = {{with(lead[0], ta ? k : m, ta ? m : k)}, {with(lead[1], tb ? n : k, tb ? k : n)}};
  out.attrs = {{"transpose_a", ta}, {"transpose_b", tb}};
  return out;
}

// Multiply-adds that are worth another thread, as for one product.
constexpr double kThreadWork = 200e3;

template <std::uint32_t kBits>
KernelPlan prepare(const KernelQuery& query) {
  struct State {
    Dims d;
    GemmPlan plan;
    std::int64_t parts;  // of the products; 1: each product has all threads
  };
  auto state = std::make_shared<State>();
  state->d = dims_of(query.node);
  const Dims& d = state->d;
  const auto count = static_cast<std::int64_t>(d.a.size());
  const double all = static_cast<double>(count) * static_cast<double>(d.m) *
                     static_cast<double>(d.n) * static_cast<double>(d.k);
  const auto useful = static_cast<std::int64_t>(std::clamp<double>(
      all / std::min<double>(kThreadWork, detail::grain_limit()), 1, query.threads));
  // Few products, each of which is large, are shared out in themselves.
  state->parts = count >= query.threads ? useful : 1;
  state->plan = prepare_gemm({.m = d.m,
                              .n = d.n,
                              .k = d.k,
                              .b = d.tb ? GemmB::kColumns : GemmB::kRows,
                              .transposed_a = d.ta},
                             CpuFeatures{kBits}, count >= query.threads ? 1 : query.threads);
  KernelPlan out;
  out.run = [state, count](const KernelArgs& args) {
    const Dims& d = state->d;
    const auto run = [&](std::int64_t part) {
      GemmArgs g;
      g.a_rs = d.ta ? 1 : d.k;
      g.a_cs = d.ta ? d.m : 1;
      g.ldb = d.tb ? d.k : d.n;
      g.ldc = d.n;
      std::byte* scratch =
          args.scratch + part * static_cast<std::int64_t>(state->plan.scratch_bytes);
      const std::int64_t end = count * (part + 1) / state->parts;
      for (std::int64_t i = count * part / state->parts; i < end; ++i) {
        g.a = args.in(0).as<float>() + d.a[static_cast<std::size_t>(i)];
        g.b = args.in(1).as<float>() + d.b[static_cast<std::size_t>(i)];
        g.c = args.out().as<float>() + i * d.m * d.n;
        run_gemm(state->plan, g, scratch);
      }
    };
    if (state->parts == 1) {
      run(0);
    } else {
      parallel_parts(state->parts, run);
    }
  };
  out.scratch_bytes = state->parts * static_cast<std::int64_t>(state->plan.scratch_bytes);
  out.flops = 2 * all;
  return out;
}

constexpr std::uint32_t kBits512 = kAvx2.bits | kAvx512.bits;

constexpr KernelRow kRows[] = {
    {"batched_matmul_f32_avx512", {kBits512}, refuses_encoded, prepare<kBits512>},
    {"batched_matmul_f32_avx2", kAvx2, refuses_encoded, prepare<kAvx2.bits>},
    {"batched_matmul_f32_ref", {}, refuses_encoded, prepare<0>},
};

}  // namespace

const OpDef kBatchedMatmul{
    .name = "batched_matmul",
    .doc = "y[...,m,n] = sum_k a[...,m,k] b[...,k,n], leading axes broadcast",
    .inputs = {{.name = "a"}, {.name = "b"}},
    .attrs = {{"transpose_a", AttrKind::boolean, false}, {"transpose_b", AttrKind::boolean, false}},
    .infer = infer,
    .grad = grad,
    .ref = ref,
    .work = work,
    .sample = sample,
    .rows = kRows};

namespace ops {

Value batched_matmul(Value a, Value b, bool transpose_a, bool transpose_b) {
  return make_node(kBatchedMatmul, {a, b},
                   {{"transpose_a", transpose_a}, {"transpose_b", transpose_b}});
}

}  // namespace ops
}  // namespace tessera
