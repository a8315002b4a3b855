// soft_assign(w, entries f32[k] or [k, d], tau f32[]) -> mean, mass, moment, log_sum, with
//   z[i][k] = -|w_i - c_k|^2 / tau, a[i] = softmax z[i],
//   mean_i = sum_k a[i][k] c_k, mass_k = sum_i a[i][k], moment_k = sum_i a[i][k] w_i,
//   log_sum = sum_i log sum_k e^z[i][k].
// soft_assign_grad(w, entries, tau, and the cotangents g of the four) -> d w, d entries:
//   e[i][k] = gmean_i . c_k + gmass_k + gmoment_k . w_i
//   s[i][k] = a[i][k] (e[i][k] - sum_j a[i][j] e[i][j] + glog_sum)                (d z)
//   d w_i = sum_k a[i][k] gmoment_k - s[i][k] (2 / tau) (w_i - c_k)
//   d c_k = sum_i a[i][k] gmean_i + s[i][k] (2 / tau) (w_i - c_k)
// a is made again block by block in one pass over w: O(k d) memory beside the outputs. The maximum
// of z[i] is subtracted before exponentials. Accumulators: f32 over k, and over i within runs of
// kRun vectors, which are added in f64 in a fixed order.
#include "ops/codebook/soft_assign.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/parallel.h"
#include "ops/codebook/soft_assign_kernels.h"
#include "ops/op_common.h"
#include "ops/ref_row.h"

namespace tessera {

namespace {

constexpr std::int64_t kRun = 4096;     // vectors; a multiple of all lane counts
constexpr std::int64_t kChunks = 64;    // partial sums, whatever the number of threads
constexpr std::int64_t kGrain = 16384;  // exponentials worth another thread
constexpr std::int64_t kMaxEntries = 256, kMaxLength = 16;

struct Sizes {
  std::int64_t n, k, d;
  Sizes(const Shape& w, const Shape& entries)
      : k(entries[0].value()), d(entries.rank() == 2 ? entries[1].value() : 1) {
    n = w.numel() / d;
  }
  std::int64_t size() const { return k * d; }
};

std::vector<TensorType> infer(const InferArgs& args) {
  const TensorType& w = args.in(0);
  const TensorType& entries = args.in(1);
  for (int i = 0; i < 3; ++i) args.require_dtype(i, DType::f32);
  args.require(!w.shape.is_symbolic(), "expected weights of a fixed shape, got ", w);
  const int rank = entries.shape.rank();
  args.require((rank == 1 || rank == 2) && !entries.shape.is_symbolic(),
               "expected entries [k] or [k, d], got ", entries);
  const std::int64_t k = entries.shape[0].value(), d = rank == 2 ? entries.shape[1].value() : 1;
  args.require(k >= 1 && k <= kMaxEntries && d >= 1 && d <= kMaxLength, "expected entries [1 to ",
               kMaxEntries, "] or [.., 1 to ", kMaxLength, "], got ", entries);
  const std::int64_t row = product(w.shape, w.shape.rank() > 1 ? 1 : 0, w.shape.rank());
  args.require(row % d == 0, "vectors of ", d, " elements do not divide the rows of ", w);
  args.require_rank(2, 0);
  return {w.dense(), {DType::f32, Shape{k}, {}}, entries.dense(), {DType::f32, Shape(), {}}};
}

std::vector<TensorType> infer_grad(const InferArgs& args) {
  const auto outputs = infer(args);
  for (int i = 0; i < 4; ++i) {
    const TensorType& wanted = outputs[static_cast<std::size_t>(i)];
    args.require(!args.has(3 + i) || args.in(3 + i).dense() == wanted, "expected ",
                 args.op.input_def(static_cast<std::size_t>(3 + i)).name, " ", wanted);
  }
  return {outputs[0], outputs[2]};
}

std::vector<Value> grad(const GradArgs& args) {
  const Node& node = args.in(0).graph().add(
      kSoftAssignGrad,
      {args.in(0), args.in(1), args.in(2), args.grad(0), args.grad(1), args.grad(2), args.grad(3)});
  return {node.output(0), node.output(1)};
}

void check_tau(double tau, std::string_view op) {
  check(tau > 0, "[", op, "] tau must be positive, got ", tau);
}

// One vector of the reference.
struct RefVector {
  Sizes sizes;
  const double *w, *c;
  double tau, log_total = 0;
  std::vector<double> a;

  RefVector(const RefArgs& args, std::int64_t i)
      : sizes(args.in(0).type.shape, args.in(1).type.shape),
        w(args.in(0).v.data() + i * sizes.d),
        c(args.in(1).v.data()),
        tau(args.in(2).v[0]) {
    double m = -std::numeric_limits<double>::infinity(), total = 0;
    for (std::int64_t k = 0; k < sizes.k; ++k) {
      double distance = 0;
      for (std::int64_t j = 0; j < sizes.d; ++j) distance += away(k, j) * away(k, j);
      a.push_back(-distance / tau);
      m = std::max(m, a.back());
    }
    for (double& z : a) total += z = std::exp(z - m);
    for (double& e : a) e /= total;
    log_total = m + std::log(total);
  }
  double away(std::int64_t k, std::int64_t j) const { return w[j] - c[k * sizes.d + j]; }
};

void ref(const RefArgs& args) {
  const Sizes sizes(args.in(0).type.shape, args.in(1).type.shape);
  check_tau(args.in(2).v[0], "soft_assign");
  for (std::int64_t i = 0; i < sizes.n; ++i) {
    const RefVector v(args, i);
    for (std::int64_t k = 0; k < sizes.k; ++k) {
      const double a = v.a[static_cast<std::size_t>(k)];
      args.out(1).v[static_cast<std::size_t>(k)] += a;
      for (std::int64_t j = 0; j < sizes.d; ++j) {
        const std::int64_t at = k * sizes.d + j;
        args.out(0).v[static_cast<std::size_t>(i * sizes.d + j)] += a * v.c[at];
        args.out(2).v[static_cast<std::size_t>(at)] += a * v.w[j];
      }
    }
    args.out(3).v[0] += v.log_total;
  }
}

void ref_grad(const RefArgs& args) {
  const Sizes sizes(args.in(0).type.shape, args.in(1).type.shape);
  check_tau(args.in(2).v[0], "soft_assign_grad");
  const auto given = [&](std::size_t i, std::int64_t at) {
    return i < args.inputs.size() && args.inputs[i]
               ? args.inputs[i]->v[static_cast<std::size_t>(at)]
               : 0.0;
  };
  for (std::int64_t i = 0; i < sizes.n; ++i) {
    const RefVector v(args, i);
    std::vector<double> e;
    double average = 0;
    for (std::int64_t k = 0; k < sizes.k; ++k) {
      e.push_back(given(4, k));
      for (std::int64_t j = 0; j < sizes.d; ++j) {
        const std::int64_t at = k * sizes.d + j;
        e.back() += given(3, i * sizes.d + j) * v.c[at] + given(5, at) * v.w[j];
      }
      average += v.a[static_cast<std::size_t>(k)] * e.back();
    }
    for (std::int64_t k = 0; k < sizes.k; ++k) {
      const double a = v.a[static_cast<std::size_t>(k)];
      const double s = a * (e[static_cast<std::size_t>(k)] - average + given(6, 0));
      for (std::int64_t j = 0; j < sizes.d; ++j) {
        const std::int64_t at = k * sizes.d + j;
        const double force = s * 2 / v.tau * v.away(k, j);
        args.out(0).v[static_cast<std::size_t>(i * sizes.d + j)] += a * given(5, at) - force;
        args.out(1).v[static_cast<std::size_t>(at)] += a * given(3, i * sizes.d + j) + force;
      }
    }
  }
}

double work(const Node& node) {
  const Sizes sizes(node.input(0).shape(), node.input(1).shape());
  return static_cast<double>(sizes.n) * static_cast<double>(sizes.k * (sizes.d + 10));
}

template <bool with_grad>
std::optional<Sample> sample(Rng&, int index) {
  struct Case {
    Shape w, entries;
    double tau;
  };
  const Case cases[] = {
      {{1}, {1}, 1},          {{7}, {2}, 0.5},
      {{3, 5}, {3}, 0.1},     {{2, 4, 17}, {16}, 0.05},
      {{5, 6}, {4, 2}, 0.3},  {{12}, {9, 4}, 0.5},
      {{3, 48}, {5, 16}, 2},  {{6, 21}, {33, 3}, 0.2},
      {{90, 130}, {8}, 0.02}, {{2, 50}, {256}, 0.2},
      {Shape(), {3}, 1},
  };
  if (index >= static_cast<int>(std::size(cases))) return std::nullopt;
  const auto& [w, entries, tau] = cases[index];
  Sample out;
  out.inputs = {{{DType::f32, w, {}}}, {{DType::f32, entries, {}}}, {f32({}), 0, 0, {tau}}};
  if (with_grad) {
    out.inputs.push_back({{DType::f32, w, {}}});
    out.inputs.push_back({{DType::f32, Shape{entries[0]}, {}}});
    out.inputs.push_back({{DType::f32, entries, {}}});
    out.inputs.push_back({f32({})});
    // As gradients of single outputs ask.
    if (index % 3 == 1) out.inputs[3].absent = true;
    if (index % 3 == 2) out.inputs[4].absent = out.inputs[5].absent = out.inputs[6].absent = true;
  }
  return out;
}

// Runs of vectors, in at most kChunks chunks of f64 sums; each part of the work has its own memory.
struct Layout {
  Sizes sizes;
  std::int64_t sums, chunk, chunks, parts, work_bytes;

  Layout(const KernelQuery& query, std::int64_t sums_of_chunk)
      : sizes(query.node.input(0).shape(), query.node.input(1).shape()), sums(sums_of_chunk) {
    const std::int64_t runs = (sizes.n + kRun - 1) / kRun;
    chunk = std::max<std::int64_t>(1, (runs + kChunks - 1) / kChunks) * kRun;
    chunks = std::max<std::int64_t>(1, (sizes.n + chunk - 1) / chunk);
    parts = std::max<std::int64_t>(
        1, std::min<std::int64_t>({query.threads, chunks, sizes.n * sizes.k / kGrain}));
    work_bytes = (soft_assign_work(sizes.k, sizes.d) * 4 + 63) / 64 * 64;
  }
  std::int64_t sums_end() const { return parts * work_bytes + chunks * sums * 8; }

  // Calls fn(work, first, count, sums of the chunk) for every run, and returns the first chunk's
  // sums with all others added.
  template <class Fn>
  const double* each_run(std::byte* scratch, Fn&& fn) const {
    auto* partial = reinterpret_cast<double*>(scratch + parts * work_bytes);
    parallel_parts(parts, [&](std::int64_t part) {
      auto* work = reinterpret_cast<float*>(scratch + part * work_bytes);
      for (std::int64_t c = chunks * part / parts; c < chunks * (part + 1) / parts; ++c) {
        double* mine = partial + c * sums;
        std::fill(mine, mine + sums, 0.0);
        const std::int64_t end = std::min(sizes.n, (c + 1) * chunk);
        for (std::int64_t i = c * chunk; i < end; i += kRun) {
          fn(work, i, std::min(kRun, end - i), mine);
        }
      }
    });
    for (std::int64_t c = 1; c < chunks; ++c) {
      for (std::int64_t j = 0; j < sums; ++j) partial[j] += partial[c * sums + j];
    }
    return partial;
  }
};

// Vectors are read before their own results are written; other operands are read throughout.
bool may_overwrite(const KernelQuery& query) {
  const Shape& w = query.node.input(0).shape();
  return w.rank() >= 2 && w != query.node.input(1).shape();
}

SoftAssignRun make_run(const KernelArgs& args, const Sizes& sizes) {
  SoftAssignRun run{};
  run.entries = args.in(1).as<const float>();
  run.k = sizes.k;
  run.d = sizes.d;
  run.tau = *args.in(2).as<const float>();
  return run;
}

void narrow(const double* from, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

KernelPlan prepare(const KernelQuery& query, const SoftAssignKernels& kernels) {
  const Sizes all(query.node.input(0).shape(), query.node.input(1).shape());
  const Layout layout(query, all.k + all.size() + 1);
  KernelPlan plan;
  plan.in_place = may_overwrite(query);
  plan.scratch_bytes = layout.sums_end();
  plan.flops = static_cast<double>(all.n * all.k * (20 + 7 * all.d));
  plan.run = [layout, &kernels](const KernelArgs& args) {
    const Sizes& sizes = layout.sizes;
    const SoftAssignRun base = make_run(args, sizes);
    check_tau(base.tau, "soft_assign");
    const float* w = args.in(0).as<const float>();
    float* mean = args.out(0).as<float>();
    const double* sums = layout.each_run(
        args.scratch, [&](float* work, std::int64_t first, std::int64_t count, double* mine) {
          SoftAssignRun run = base;
          run.w = w + first * sizes.d;
          run.n = count;
          run.work = work;
          kernels.forward(run, mean + first * sizes.d, mine);
        });
    narrow(sums, sizes.k, args.out(1).as<float>());
    narrow(sums + sizes.k, sizes.size(), args.out(2).as<float>());
    narrow(sums + sizes.k + sizes.size(), 1, args.out(3).as<float>());
  };
  return plan;
}

KernelPlan prepare_grad(const KernelQuery& query, const SoftAssignKernels& kernels) {
  const Sizes all(query.node.input(0).shape(), query.node.input(1).shape());
  const Layout layout(query, all.size());
  KernelPlan plan;
  plan.in_place = may_overwrite(query);
  // Behind the sums: zeros, for cotangents that are absent.
  plan.scratch_bytes = layout.sums_end() + all.size() * 4;
  plan.flops = static_cast<double>(all.n * all.k * (24 + 14 * all.d));
  plan.run = [layout, &kernels](const KernelArgs& args) {
    const Sizes& sizes = layout.sizes;
    const SoftAssignRun base = make_run(args, sizes);
    check_tau(base.tau, "soft_assign_grad");
    const auto given = [&](int i) {
      return i < static_cast<int>(args.inputs.size()) ? args.in(i).as<const float>() : nullptr;
    };
    auto* zeros = reinterpret_cast<float*>(args.scratch + layout.sums_end());
    std::fill(zeros, zeros + sizes.size(), 0.0f);
    const float* d_mean = given(3);
    const SoftAssignCotangents all_given{nullptr, given(4) ? given(4) : zeros,
                                         given(5) ? given(5) : zeros, given(6) ? *given(6) : 0.0f};
    const float* w = args.in(0).as<const float>();
    float* d_w = args.out(0).as<float>();
    const double* sums = layout.each_run(
        args.scratch, [&](float* work, std::int64_t first, std::int64_t count, double* mine) {
          SoftAssignRun run = base;
          run.w = w + first * sizes.d;
          run.n = count;
          run.work = work;
          SoftAssignCotangents mine_given = all_given;
          if (d_mean) mine_given.mean = d_mean + first * sizes.d;
          kernels.backward(run, mine_given, d_w + first * sizes.d, mine);
        });
    narrow(sums, sizes.size(), args.out(1).as<float>());
  };
  return plan;
}

template <KernelPlan (*make)(const KernelQuery&, const SoftAssignKernels&)>
constexpr KernelRow kRows[] = {
#if defined(__x86_64__)
    {"blocks_avx512", kAvx512, refuses_encoded,
     [](const KernelQuery& q) { return make(q, tessera_soft_assign_avx512); }},
    {"blocks_avx2", kAvx2, refuses_encoded,
     [](const KernelQuery& q) { return make(q, tessera_soft_assign_avx2); }},
#endif
    {"blocks_plain", kScalar, refuses_encoded,
     [](const KernelQuery& q) { return make(q, tessera_soft_assign_ref); }},
    kRefRow,
};

InputDef constant_input(std::string_view name, bool optional = false) {
  return {.name = name, .differentiable = false, .optional = optional};
}

}  // namespace

const OpDef kSoftAssign{
    .name = "soft_assign",
    .doc = "mean, mass, moment and log_sum of a = softmax_k(-|w_i - c_k|^2 / tau)",
    .inputs = {{.name = "w"}, {.name = "entries"}, constant_input("tau")},
    .infer = infer,
    .grad = grad,
    .ref = ref,
    .work = work,
    .sample = sample<false>,
    .rows = kRows<prepare>};

const OpDef kSoftAssignGrad{
    .name = "soft_assign_grad",
    .doc = "d w and d entries of soft_assign from the cotangents of its outputs",
    .inputs = {constant_input("w"), constant_input("entries"), constant_input("tau"),
               constant_input("d_mean", true), constant_input("d_mass", true),
               constant_input("d_moment", true), constant_input("d_log_sum", true)},
    .infer = infer_grad,
    .ref = ref_grad,
    .work = work,
    .sample = sample<true>,
    .rows = kRows<prepare_grad>};

namespace ops {

SoftAssignResult soft_assign(Value w, Value entries, const Arg& tau) {
  check(static_cast<bool>(w), "[soft_assign] operand 0 is not a value");
  const Node& node = *make_node(kSoftAssign, {w, entries, tau.in(w.graph())}).node;
  return {node.output(0), node.output(1), node.output(2), node.output(3)};
}

}  // namespace ops
}  // namespace tessera
