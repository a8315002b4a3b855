// Any set of axes becomes a sequence of steps [outer, n, inner] -> [outer, inner], innermost
// reduced run of axes first (batch-norm's [N, C, HW] -> [C] is two steps). A step cuts n into fixed
// chunks, so the order of additions depends on shapes only and never on threads. Accumulator: f32
// within a chunk, f64 across chunks.
#include "ops/reduce/reduce_rows.h"

#include <algorithm>
#include <memory>

#include "core/parallel.h"
#include "ops/op_common.h"

namespace tessera {

namespace {

constexpr std::int64_t kLineChunk = 8192;  // elements of a contiguous run per f32 partial
constexpr std::int64_t kRowChunk = 256;    // rows per f32 partial when columns are reduced
constexpr std::int64_t kColumnTile = 256;  // columns per work item
constexpr std::int64_t kGrain = 32768;     // elements that are worth another thread

struct Step {
  std::int64_t outer = 1, n = 1, inner = 1;
  std::int64_t chunk() const { return inner == 1 ? kLineChunk : kRowChunk; }
  std::int64_t chunks() const { return (n + chunk() - 1) / chunk(); }
  std::int64_t partials() const { return chunks() > 1 ? outer * chunks() * inner : 0; }
};

struct Reduce {
  std::vector<Step> steps;
  ReduceKind kind;
  const ReduceKernels* kernels;
  std::int64_t result_floats = 0;  // of one intermediate result; two are kept
  std::int64_t output = 1;

  void run_step(const Step& step, const float* x, float* out, float* partials) const {
    const std::int64_t chunks = step.chunks(), chunk = step.chunk();
    const std::int64_t tiles = (step.inner + kColumnTile - 1) / kColumnTile;
    float* to = chunks > 1 ? partials : out;
    const std::int64_t work =
        std::max<std::int64_t>(1, std::min(chunk, step.n) * std::min(step.inner, kColumnTile));
    const auto k = static_cast<std::size_t>(kind);
    parallel_for(step.outer * chunks * tiles, std::max<std::int64_t>(1, kGrain / work),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t item = begin; item < end; ++item) {
                     const std::int64_t tile = item % tiles, line = item / tiles;
                     const std::int64_t part = line % chunks, o = line / chunks;
                     const std::int64_t first = part * chunk,
                                        rows = std::min(chunk, step.n - first);
                     const std::int64_t col = tile * kColumnTile;
                     const float* from = x + (o * step.n + first) * step.inner + col;
                     float* result = to + line * step.inner + col;
                     if (step.inner == 1) {
                       kernels->line[k](from, rows, result);
                     } else {
                       kernels->columns[k](from, rows, std::min(kColumnTile, step.inner - col),
                                           step.inner, result);
                     }
                   }
                 });
    if (chunks == 1) return;
    for (std::int64_t o = 0; o < step.outer; ++o) {
      for (std::int64_t c = 0; c < step.inner; ++c) {
        const float* part = partials + o * chunks * step.inner + c;
        double total = part[0];
        for (std::int64_t i = 1; i < chunks; ++i) {
          const double next = part[i * step.inner];
          if (kind == ReduceKind::sum) {
            total += next;
          } else if (next > total || next != next) {
            total = next;
          }
        }
        out[o * step.inner + c] = static_cast<float>(total);
      }
    }
  }

  void run(const KernelArgs& args) const {
    const float* x = args.in(0).as<const float>();
    float* out = args.out().as<float>();
    if (steps.empty()) {
      std::copy_n(x, output, out);
      return;
    }
    auto* scratch = reinterpret_cast<float*>(args.scratch);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const bool last = i + 1 == steps.size();
      float* to = last ? out : scratch + static_cast<std::int64_t>(i % 2) * result_floats;
      if (steps[i].n == 0) {
        std::fill_n(to, steps[i].outer * steps[i].inner, 0.0f);  // only sums may be empty
      } else {
        run_step(steps[i], x, to, scratch + 2 * result_floats);
      }
      x = to;
    }
  }
};

}  // namespace

const ReduceKernels& reduce_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx512)) return tessera_reduce_avx512;
  if (features.includes(kAvx2)) return tessera_reduce_avx2;
#endif
  return tessera_reduce_ref;
}

KernelPlan plan_reduce(const KernelQuery& query, const Ints& axes, ReduceKind kind,
                       const ReduceKernels& kernels) {
  const Shape& shape = query.node.input(0).shape();
  // Runs of neighbouring axes that are all kept or all reduced.
  std::vector<std::pair<std::int64_t, bool>> runs;
  for (int i = 0; i < shape.rank(); ++i) {
    const std::int64_t n = shape[i].value();
    const bool reduced = contains(axes, i);
    if (n == 1) continue;
    if (!runs.empty() && runs.back().second == reduced) {
      runs.back().first *= n;
    } else {
      runs.emplace_back(n, reduced);
    }
  }
  Reduce reduce{{}, kind, &kernels};
  reduce.output = query.node.types()[0].shape.numel();
  std::int64_t inner = 1, partials = 0;
  for (std::size_t i = runs.size(); i-- > 0;) {
    if (!runs[i].second) {
      inner *= runs[i].first;
      continue;
    }
    Step step{1, runs[i].first, inner};
    for (std::size_t j = 0; j < i; ++j) step.outer *= runs[j].first;
    reduce.steps.push_back(step);
    partials = std::max(partials, step.partials());
    if (i > 1) reduce.result_floats = std::max(reduce.result_floats, step.outer * step.inner);
  }
  KernelPlan plan;
  plan.scratch_bytes =
      (2 * reduce.result_floats + partials) * static_cast<std::int64_t>(sizeof(float));
  plan.flops = static_cast<double>(shape.numel());
  plan.run = [kernel = std::make_shared<const Reduce>(std::move(reduce))](const KernelArgs& args) {
    kernel->run(args);
  };
  return plan;
}

}  // namespace tessera
