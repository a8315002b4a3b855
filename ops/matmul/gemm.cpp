#include "ops/matmul/gemm.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "core/threads.h"

namespace tessera {
namespace {

constexpr int64_t kLanes = kGemmLanes;
// Below this many multiply-adds a second thread costs more than it saves.
constexpr double kThreadWork = 200e3;
// A panel of this depth and 48 columns fills a fifth of a 1 MB L2.
constexpr int64_t kMaxDepth = 1024;
constexpr int64_t kMaxRowBlock = 512;
// A panel that is filled for few rows is written and read once: in the first-level cache.
constexpr int64_t kFewRows = 16;
constexpr int64_t kFewRowsPanel = 24 << 10;
// Dense [k, n] operands are copied to a panel when at least this many rows share it.
constexpr int64_t kCopyRows = 48;
// Floats of a transposed A that are copied at once: beside a panel of B in a 1 MB L2.
constexpr int64_t kPackedA = 96 << 10;
// Register tiles handed to an epilogue at once.
constexpr int64_t kEpilogueTiles = 4;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr size_t align64(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Even pieces of at most `most`.
constexpr int64_t even(int64_t n, int64_t most) {
  return n <= most ? n : ceil_div(n, ceil_div(n, most));
}

// Rows of a register tile: as many as leave room for the vectors that belong together.
int most_rows(const GemmKernels& kernels, const GemmProblem& problem) {
  for (int rows = kernels.max_rows; problem.vectors > 0 && rows > 1; --rows)
    if (kernels.tile[rows - 1][problem.vectors - 1]) return rows;
  return kernels.max_rows;
}

size_t panel_part(const GemmPlan& p) {
  return p.panel ? align64(sizeof(float) * p.k_block * p.vectors * kLanes) : 0;
}

bool passes(const GemmPlan& p) {
  return p.problem.k > p.k_block;
}

int64_t tile_rows(const GemmPlan& p) {
  return passes(p) ? p.row_block : std::min<int64_t>(p.row_block, kEpilogueTiles * p.rows);
}

size_t tile_part(const GemmPlan& p) {
  return p.problem.epilogue ? align64(sizeof(float) * tile_rows(p) * p.vectors * kLanes) : 0;
}

size_t packed_a_part(const GemmPlan& p) {
  return p.pack_a ? align64(sizeof(float) * p.row_block * p.problem.k) : 0;
}

// Rows [row0, row0 + rows) of a transposed A by register tiles: element (r, k) of one goes to
// dst[k * plan.rows + r], and a column of A is read once rather than in pieces, page after page.
void pack_a(const GemmPlan& plan, const GemmArgs& args, int64_t row0, int64_t rows, float* dst) {
  const int64_t tile = plan.rows, depth = plan.problem.k;
  for (int64_t k = 0; k < depth; ++k) {
    const float* src = args.a + row0 + k * args.a_cs;
    float* to = dst + k * tile;
    int64_t r = 0;
    if (tile == 8) {  // one copy of 32 bytes
      for (; r + 8 <= rows; r += 8, to += 8 * depth) std::memcpy(to, src + r, 32);
    }
    for (; r < rows; r += tile, to += tile * depth) {
      const int64_t count = std::min(tile, rows - r);
      for (int64_t i = 0; i < count; ++i) to[i] = src[r + i];
    }
  }
}

void copy_rows(const GemmPanel& p, const float* b, int64_t ldb) {
  const int64_t full = p.cols / kLanes, rest = p.cols % kLanes;
  for (int64_t i = 0; i < p.k; ++i) {
    const float* src = b + (p.k0 + i) * ldb + p.col0;
    float* dst = p.dst + i * p.ks;
    for (int64_t v = 0; v < full; ++v)
      std::memcpy(dst + v * p.vs, src + v * kLanes, kLanes * sizeof(float));
    if (rest) {
      std::memcpy(dst + full * p.vs, src + full * kLanes, rest * sizeof(float));
      std::memset(dst + full * p.vs + rest, 0, (kLanes - rest) * sizeof(float));
    }
  }
}

void fill_panel(const GemmKernels& kernels, GemmB kind, const GemmArgs& args,
                const GemmPanel& panel, void* scratch) {
  switch (kind) {
    case GemmB::kRows:
      copy_rows(panel, args.b, args.ldb);
      break;
    case GemmB::kColumns:
      kernels.pack_transpose({args.b + panel.col0 * args.ldb + panel.k0, args.ldb, panel.cols,
                              panel.k, panel.dst, panel.ks, panel.vs});
      break;
    case GemmB::kFill:
      args.fill(args.fill_context, panel, scratch);
      break;
    case GemmB::kPanels:
      break;
  }
}

// The work of one thread: rows [row0, row1) of one column group, all of k.
class Worker {
 public:
  Worker(const GemmPlan& plan, const GemmArgs& args, char* scratch)
      : plan_(plan),
        args_(args),
        panel_(reinterpret_cast<float*>(scratch)),
        tile_(reinterpret_cast<float*>(scratch + panel_part(plan))),
        packed_a_(reinterpret_cast<float*>(scratch + panel_part(plan) + tile_part(plan))),
        fill_scratch_(scratch + panel_part(plan) + tile_part(plan) + packed_a_part(plan)) {}

  // Before run() of rows in [row0, row0 + rows), a row block.
  void set_block(int64_t row0, int64_t rows) {
    block0_ = row0;
    if (plan_.pack_a) pack_a(plan_, args_, row0, rows, packed_a_);
  }

  void run(int64_t group, int64_t row0, int64_t row1) {
    const GemmProblem& p = plan_.problem;
    const int64_t vector0 = first_vector(plan_, group), vector1 = first_vector(plan_, group + 1);
    col0_ = vector0 * kLanes;
    cols_ = std::min(vector1 * kLanes, p.n) - col0_;
    vectors_ = static_cast<int>(vector1 - vector0);
    for (int64_t k0 = 0; k0 < p.k || k0 == 0; k0 += plan_.k_block) {
      const int64_t k = std::min(plan_.k_block, p.k - k0);
      set_b(k0, k);
      const bool last = k0 + plan_.k_block >= p.k;
      if (!p.epilogue) {
        rows(row0, row1, k0, k, args_.c + row0 * args_.ldc + col0_, args_.ldc);
      } else if (passes(plan_)) {
        rows(row0, row1, k0, k, tile_, ld());
        if (last) finish(row0, row1);
      } else {
        for (int64_t r = row0; r < row1; r += kEpilogueTiles * plan_.rows) {
          const int64_t end = std::min(row1, r + kEpilogueTiles * plan_.rows);
          if (args_.before_tile) {
            args_.before_tile(args_.epilogue_context, r, end - r, col0_, cols_, nullptr, 0);
          }
          rows(r, end, k0, k, tile_, ld());
          finish(r, end);
        }
      }
      if (last) break;
    }
  }

  static int64_t first_vector(const GemmPlan& plan, int64_t group) {
    return ceil_div(plan.problem.n, kLanes) * group / plan.groups;
  }

 private:
  int64_t ld() const { return vectors_ * kLanes; }

  void finish(int64_t row0, int64_t row1) {
    args_.epilogue(args_.epilogue_context, row0, row1 - row0, col0_, cols_, tile_, ld());
  }

  void set_b(int64_t k0, int64_t k) {
    const GemmProblem& p = plan_.problem;
    if (plan_.panel) {
      b_ = panel_;
      b_ks_ = vectors_ * kLanes;
      b_vs_ = kLanes;
      fill_panel(*plan_.kernels, p.b, args_, {k0, k, col0_, cols_, panel_, b_ks_, b_vs_},
                 fill_scratch_);
    } else if (p.b == GemmB::kPanels) {
      b_ = args_.b + col0_ * p.k + k0 * kLanes;
      b_ks_ = kLanes;
      b_vs_ = kLanes * p.k;
      // What this worker reads next: the same columns further down, else the next group.
      const bool last = k0 + k >= p.k;
      const bool more = !last || col0_ + cols_ < p.n;
      next_ = !more ? nullptr : last ? b_ - k0 * kLanes + vectors_ * b_vs_ : b_ + k * kLanes;
    } else {
      b_ = args_.b + k0 * args_.ldb + col0_;
      b_ks_ = args_.ldb;
      b_vs_ = kLanes;
    }
  }

  void rows(int64_t row0, int64_t row1, int64_t k0, int64_t k, float* c, int64_t ldc) {
    const auto& table = plan_.kernels->tile;
    int max_vectors = vectors_;
    while (!table[plan_.rows - 1][max_vectors - 1]) --max_vectors;
    const int64_t a_rs = plan_.pack_a ? 1 : args_.a_rs,
                  a_cs = plan_.pack_a ? plan_.rows : args_.a_cs;
    for (int64_t r = row0; r < row1; r += plan_.rows) {
      const float* a =
          plan_.pack_a ? packed_a_ + (r - block0_) * plan_.problem.k : args_.a + r * a_rs;
      const int64_t count = std::min<int64_t>(plan_.rows, row1 - r);
      // Each row tile asks for one of the vectors that come next: B then streams evenly.
      const int64_t turn = (r - row0) / plan_.rows;
      const float* ahead = next_ && turn < vectors_ ? next_ + turn * b_vs_ : nullptr;
      for (int v = 0; v < vectors_; v += max_vectors) {
        const int width = std::min(max_vectors, vectors_ - v);
        const int64_t tail = cols_ - (v + width - 1) * kLanes;
        table[count - 1][width - 1]({a + k0 * a_cs, a_rs, a_cs, b_ + v * b_vs_, b_ks_, b_vs_,
                                     c + (r - row0) * ldc + v * kLanes, ldc, k,
                                     static_cast<int32_t>(std::min(tail, kLanes)),
                                     k0 > 0 || args_.accumulate, ahead});
      }
    }
  }

  const GemmPlan& plan_;
  const GemmArgs& args_;
  float* panel_;
  float* tile_;
  float* packed_a_;
  char* fill_scratch_;
  int64_t block0_ = 0;
  int64_t col0_ = 0, cols_ = 0;
  int vectors_ = 0;
  const float* b_ = nullptr;
  int64_t b_ks_ = 0, b_vs_ = 0;
  const float* next_ = nullptr;  // vectors of B after these; null: not known
};

// Row, within a group's [0, rows), at which a boundary `cost` into that group's work falls.
int64_t row_at(const GemmPlan& plan, int64_t cost, int64_t vectors, int64_t rows) {
  const int64_t row = (cost + vectors * plan.rows / 2) / (vectors * plan.rows) * plan.rows;
  return std::clamp<int64_t>(row, 0, rows);
}

// The work is one line: row blocks, in them column groups, in them rows; a thread gets an even
// part of it, cut at register tiles. So at most one panel per thread is filled twice.
void run_part(const GemmPlan& plan, const GemmArgs& args, char* scratch, int64_t part) {
  const GemmProblem& p = plan.problem;
  Worker worker(plan, args, scratch + plan.thread_scratch * part);
  const int64_t total = p.m * ceil_div(p.n, kLanes);
  const int64_t begin = total * part / plan.threads, end = total * (part + 1) / plan.threads;
  int64_t at = 0;
  for (int64_t block = 0; block < p.m; block += plan.row_block) {
    const int64_t rows = std::min(plan.row_block, p.m - block);
    bool begun = false;
    for (int64_t g = 0; g < plan.groups; ++g) {
      const int64_t vectors = Worker::first_vector(plan, g + 1) - Worker::first_vector(plan, g);
      const int64_t cost = rows * vectors;
      if (at < end && at + cost > begin) {
        const int64_t row0 = begin <= at ? 0 : row_at(plan, begin - at, vectors, rows);
        const int64_t row1 = end >= at + cost ? rows : row_at(plan, end - at, vectors, rows);
        if (row0 < row1) {
          if (!begun) worker.set_block(block, rows);
          begun = true;
          worker.run(g, block + row0, block + row1);
        }
      }
      at += cost;
    }
  }
}

}  // namespace

const GemmKernels& gemm_kernels([[maybe_unused]] CpuFeatures features) {
#if defined(__x86_64__)
  if (features.includes(kAvx2 | kAvx512)) return tessera_gemm_avx512;
  if (features.includes(kAvx2)) return tessera_gemm_avx2;
#endif
  return tessera_gemm_ref;
}

GemmPlan prepare_gemm(const GemmProblem& problem, CpuFeatures features, int threads) {
  TESSERA_ASSERT(problem.m >= 0 && problem.n >= 0 && problem.k >= 0 && threads >= 1);
  GemmPlan plan{};
  plan.problem = problem;
  plan.kernels = &gemm_kernels(features);
  const int64_t vectors = std::max<int64_t>(1, ceil_div(problem.n, kLanes));
  // An epilogue costs an element about as much as a few products.
  const double depth = static_cast<double>(problem.k) + (problem.epilogue ? 16 : 0);
  const double work = static_cast<double>(problem.m) * static_cast<double>(problem.n) * depth;
  plan.threads = static_cast<int>(
      std::clamp<double>(work / std::min<double>(kThreadWork, detail::grain_limit()), 1, threads));
  plan.rows =
      static_cast<int>(even(std::max<int64_t>(problem.m, 1), most_rows(*plan.kernels, problem)));
  // Sums are cut where one thread would cut them: their bits do not depend on the threads.
  int one_thread_vectors = problem.vectors;
  if (problem.vectors > 0) {
    TESSERA_ASSERT(problem.n % (problem.vectors * kLanes) == 0);
    plan.vectors = problem.vectors;
    plan.groups = vectors / plan.vectors;
  } else {
    plan.vectors = kGemmMaxVectors;
    while (!plan.kernels->tile[plan.rows - 1][plan.vectors - 1]) --plan.vectors;
    plan.groups = ceil_div(vectors, plan.vectors);
    one_thread_vectors = static_cast<int>(ceil_div(vectors, plan.groups));
    // Few tiles: as many groups as the threads can share evenly.
    if (ceil_div(problem.m, plan.rows) < 4 * plan.threads)
      plan.groups = std::min<int64_t>(vectors, ceil_div(plan.groups, plan.threads) * plan.threads);
    plan.vectors = static_cast<int>(ceil_div(vectors, plan.groups));
  }
  // A small one stays in the caches where it is: a copy costs more than it gives.
  plan.pack_a = problem.transposed_a && plan.groups > 1 && problem.m * problem.k > kPackedA;
  const int64_t row_tiles = std::max<int64_t>(1, ceil_div(problem.m, plan.rows));
  int64_t most_block = kMaxRowBlock / plan.rows;
  if (plan.pack_a)
    most_block = std::clamp<int64_t>(kPackedA / (plan.rows * std::max<int64_t>(problem.k, 1)), 1,
                                     most_block);
  plan.row_block = even(row_tiles, most_block) * plan.rows;
  const int64_t most =
      problem.b == GemmB::kFill && problem.m <= kFewRows
          ? std::max<int64_t>(64, kFewRowsPanel / (one_thread_vectors * kLanes * 4))
          : kMaxDepth;
  plan.k_block = std::max<int64_t>(1, even(problem.k, most));
  // Depths stay multiples of 16: vector codebooks and transposes are cut at whole steps.
  if (plan.k_block < problem.k) plan.k_block = ceil_div(plan.k_block, 16) * 16;
  plan.panel = problem.b == GemmB::kColumns || problem.b == GemmB::kFill ||
               (problem.b == GemmB::kRows && problem.m >= kCopyRows);
  plan.thread_scratch =
      panel_part(plan) + tile_part(plan) + packed_a_part(plan) + align64(problem.fill_scratch);
  plan.scratch_bytes = plan.thread_scratch * plan.threads;
  return plan;
}

void run_gemm(const GemmPlan& plan, const GemmArgs& args, void* scratch) {
  if (plan.problem.m == 0 || plan.problem.n == 0) return;
  TESSERA_ASSERT(plan.problem.epilogue == (args.epilogue != nullptr));
  TESSERA_ASSERT(!(args.epilogue && args.accumulate));
  parallel_parts(plan.threads,
                 [&](int64_t part) { run_part(plan, args, static_cast<char*>(scratch), part); });
}

size_t panel_bytes(int64_t n, int64_t k) {
  return sizeof(float) * ceil_div(n, kLanes) * kLanes * k;
}

void pack_panels(CpuFeatures features, GemmB kind, int64_t n, int64_t k, const float* b,
                 int64_t ldb, float* dst) {
  const GemmKernels& kernels = gemm_kernels(features);
  GemmArgs args;
  args.b = b;
  args.ldb = ldb;
  // Whole panels per item; 64 K floats are worth a thread.
  const int64_t grain = 1 + 65536 / (kLanes * std::max<int64_t>(k, 1));
  parallel_for(ceil_div(n, kLanes), grain, [&](int64_t begin, int64_t end) {
    const int64_t cols = std::min(end * kLanes, n) - begin * kLanes;
    fill_panel(kernels, kind, args,
               {0, k, begin * kLanes, cols, dst + begin * kLanes * k, kLanes, kLanes * k}, nullptr);
  });
}

}  // namespace tessera
