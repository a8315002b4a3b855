// Every f32 GEMM kernel against a sum in double, at sizes around its tile and beyond memory's ends.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/cpu.h"
#include "core/parallel.h"
#include "ops/matmul/gemm.h"

namespace tessera {
namespace {

std::vector<CpuFeatures> levels() {
  std::vector<CpuFeatures> out;
  for (CpuFeatures f : {kScalar, kAvx2, kAvx2 | kAvx512})
    if (active_features().includes(f)) out.push_back(f);
  return out;
}

// Exactly as many floats as asked for, so that sanitizers see reads beyond them; `skew` floats off
// the start of a cache line.
class Buffer {
 public:
  explicit Buffer(size_t n, int skew = 0) : n_(n), skew_(skew), data_(new float[n + skew]) {}
  float* data() { return data_.get() + skew_; }
  const float* data() const { return data_.get() + skew_; }
  size_t size() const { return n_; }
  void fill_random(std::mt19937& rng) {
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    for (size_t i = 0; i < n_; ++i) data()[i] = uniform(rng);
  }

 private:
  size_t n_;
  int skew_;
  std::unique_ptr<float[]> data_;
};

struct Aligned {
  explicit Aligned(size_t bytes) : memory(bytes + 64) {}
  void* data() {
    void* p = memory.data();
    size_t space = memory.size();
    return std::align(64, memory.size() - 64, p, space);
  }
  std::vector<char> memory;
};

struct Case {
  int64_t m, n, k;
  GemmB b = GemmB::kRows;
  bool transposed_a = false, accumulate = false, epilogue = false;
  int skew = 0;
  int vectors = 0;
};

struct Fill {
  const float* b;
  int64_t ldb;
};
void fill_from_rows(const void* context, const GemmPanel& p, void* scratch) {
  std::memset(scratch, 0x55, 32);  // its own scratch is there
  const auto& f = *static_cast<const Fill*>(context);
  for (int64_t i = 0; i < p.k; ++i)
    for (int64_t j = 0; j < (p.cols + 15) / 16 * 16; ++j)
      p.dst[i * p.ks + j / 16 * p.vs + j % 16] =
          j < p.cols ? f.b[(p.k0 + i) * f.ldb + p.col0 + j] : 0.0f;
}

struct Sink {
  float* c;
  int64_t ldc;
};
void store_doubled(void* context, int64_t row0, int64_t rows, int64_t col0, int64_t cols,
                   float* tile, int64_t ld) {
  const auto& sink = *static_cast<Sink*>(context);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      sink.c[(row0 + r) * sink.ldc + col0 + c] += 2.0f * tile[r * ld + c];
}

// Runs one case and returns C.
std::vector<float> run(const Case& t, CpuFeatures features, int threads, bool check) {
  std::mt19937 rng(7);
  Buffer a(t.m * t.k, t.skew), rows(t.k * t.n, t.skew), columns(t.k * t.n, t.skew);
  Buffer c(t.m * t.n, t.skew);
  a.fill_random(rng);
  rows.fill_random(rng);
  c.fill_random(rng);
  for (int64_t i = 0; i < t.k; ++i)
    for (int64_t j = 0; j < t.n; ++j) columns.data()[j * t.k + i] = rows.data()[i * t.n + j];
  const std::vector<float> before(c.data(), c.data() + c.size());

  GemmProblem problem{t.m,       t.n,           t.k,
                      t.b,       t.epilogue,    t.b == GemmB::kFill ? size_t{32} : 0,
                      t.vectors, t.transposed_a};
  const GemmPlan plan = prepare_gemm(problem, features, threads);
  Aligned scratch(plan.scratch_bytes), panels(panel_bytes(t.n, t.k));
  GemmArgs args;
  args.a = a.data();
  args.a_rs = t.transposed_a ? 1 : t.k;
  args.a_cs = t.transposed_a ? t.m : 1;
  args.b = t.b == GemmB::kColumns ? columns.data() : rows.data();
  args.ldb = t.b == GemmB::kColumns ? t.k : t.n;
  if (t.b == GemmB::kPanels) {
    auto* packed = static_cast<float*>(panels.data());
    pack_panels(features, GemmB::kColumns, t.n, t.k, columns.data(), t.k, packed);
    args.b = packed;
  }
  const Fill fill{rows.data(), t.n};
  args.fill = fill_from_rows;
  args.fill_context = &fill;
  args.c = c.data();
  args.ldc = t.n;
  args.accumulate = t.accumulate;
  Sink sink{c.data(), t.n};
  if (t.epilogue) {
    args.epilogue = store_doubled;
    args.epilogue_context = &sink;
  }
  run_gemm(plan, args, scratch.data());

  if (check) {
    int bad = 0;
    for (int64_t i = 0; i < t.m; ++i)
      for (int64_t j = 0; j < t.n; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < t.k; ++k)
          sum += static_cast<double>(a.data()[i * args.a_rs + k * args.a_cs]) *
                 rows.data()[k * t.n + j];
        if (t.epilogue) sum = before[i * t.n + j] + 2 * sum;
        if (t.accumulate) sum += before[i * t.n + j];
        const double bound = 1e-6 * (4 + 2 * std::sqrt(static_cast<double>(t.k)));
        if (!(std::abs(c.data()[i * t.n + j] - sum) <= bound)) ++bad;
      }
    EXPECT_EQ(bad, 0) << t.m << "x" << t.n << "x" << t.k << " kind " << static_cast<int>(t.b)
                      << " on " << text(features) << ", tile " << plan.rows << "x" << plan.vectors;
  }
  return {c.data(), c.data() + c.size()};
}

TEST(GemmKernel, AllTilesAndTails) {
  for (CpuFeatures f : levels())
    for (int64_t m = 1; m <= 2 * gemm_kernels(f).max_rows + 1; ++m)
      for (int64_t n : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 49, 63, 100, 127, 128, 129})
        for (int64_t k : {1, 5, 17}) {
          run({m, n, k}, f, 1, true);
          run({m, n, k, GemmB::kColumns}, f, 1, true);
        }
}

TEST(GemmKernel, EmptySizes) {
  for (CpuFeatures f : levels())
    for (GemmB b : {GemmB::kRows, GemmB::kColumns, GemmB::kPanels, GemmB::kFill}) {
      run({0, 5, 3, b}, f, 2, true);
      run({5, 0, 3, b}, f, 2, true);
      run({5, 3, 0, b}, f, 2, true);  // an empty sum is 0
      run({5, 3, 0, b, false, true}, f, 2, true);
      run({0, 0, 0, b}, f, 2, true);
    }
}

TEST(GemmKernel, KindsOptionsAndAlignments) {
  for (CpuFeatures f : levels())
    for (GemmB b : {GemmB::kRows, GemmB::kColumns, GemmB::kPanels, GemmB::kFill})
      for (int64_t m : {1, 3, 20, 67})
        for (int64_t n : {10, 100, 130})
          for (bool transposed : {false, true})
            for (int mode = 0; mode < 3; ++mode)
              run({m, n, 41, b, transposed, mode == 1, mode == 2, static_cast<int>((m + n) % 5)}, f,
                  2, true);
}

TEST(GemmKernel, SeveralPassesOverDepth) {
  for (CpuFeatures f : levels())
    for (GemmB b : {GemmB::kRows, GemmB::kColumns, GemmB::kPanels, GemmB::kFill})
      for (int mode = 0; mode < 3; ++mode)
        for (int64_t m : {2, 61})
          for (bool transposed : {false, true})
            run({m, 137, 2500, b, transposed, mode == 1, mode == 2}, f, 1, true);
}

// An epilogue that needs vectors together gets whole groups of them, however the work is shared.
TEST(GemmKernel, VectorsThatBelongTogether) {
  for (const CpuFeatures features : levels()) {
    for (const int vectors : {2, 4, 8}) {
      for (const int64_t m : {1, 5, 20, 61}) {
        const int64_t columns = vectors * kGemmLanes;
        run({.m = m,
             .n = 3 * columns,
             .k = 50,
             .b = GemmB::kPanels,
             .epilogue = true,
             .vectors = vectors},
            features, 3, true);
        const GemmPlan plan = prepare_gemm({.m = m,
                                            .n = 3 * columns,
                                            .k = 1100,
                                            .b = GemmB::kPanels,
                                            .epilogue = true,
                                            .vectors = vectors},
                                           features, 3);
        Aligned scratch(plan.scratch_bytes), panels(panel_bytes(3 * columns, 1100));
        const std::vector<float> a(static_cast<size_t>(m * 1100));
        GemmArgs args;
        args.a = a.data();
        args.a_rs = 1100;
        args.b = static_cast<const float*>(panels.data());
        args.epilogue_context = const_cast<int64_t*>(&columns);
        args.epilogue = [](void* context, int64_t, int64_t, int64_t col0, int64_t cols, float*,
                           int64_t) {
          const int64_t columns = *static_cast<const int64_t*>(context);
          EXPECT_EQ(col0 % columns, 0);
          EXPECT_EQ(cols, columns);
        };
        run_gemm(plan, args, scratch.data());
      }
    }
  }
}

TEST(GemmKernel, SeveralRowBlocks) {
  for (CpuFeatures f : levels()) run({1100, 70, 24, GemmB::kColumns}, f, 3, true);
}

TEST(GemmKernel, SameBitsForAnyThreadCount) {
  const int before = num_threads();
  for (CpuFeatures f : levels())
    for (GemmB b : {GemmB::kRows, GemmB::kColumns, GemmB::kPanels, GemmB::kFill})
      for (const Case& t : {Case{256, 300, 50, b}, Case{100, 300, 64, b, true},
                            Case{1, 2000, 700, b}, Case{19, 333, 1500, b, false, false, true}}) {
        set_num_threads(1);
        const std::vector<float> one = run(t, f, 1, false);
        for (int threads : {2, 3, 5}) {
          set_num_threads(threads);
          const std::vector<float> many = run(t, f, threads, false);
          EXPECT_EQ(std::memcmp(one.data(), many.data(), one.size() * sizeof(float)), 0)
              << t.m << "x" << t.n << "x" << t.k << ", " << threads << " threads, " << text(f);
        }
      }
  set_num_threads(before);
}

TEST(GemmKernel, FeaturesChooseTheKernels) {
  EXPECT_STREQ(gemm_kernels(kScalar).name, "ref");
#if defined(__x86_64__)
  EXPECT_STREQ(gemm_kernels(kAvx2).name, "avx2");
  EXPECT_STREQ(gemm_kernels(kAvx2 | kAvx512).name, "avx512");
  EXPECT_STREQ(gemm_kernels(kAvx2 | kVbmi).name, "avx2");
#endif
}

TEST(GemmKernel, PanelsArePaddedWithZeros) {
  for (CpuFeatures f : levels())
    for (int64_t n : {1, 8, 9, 16, 17, 30, 40}) {
      const int64_t k = 19;
      const std::vector<float> b(n * k, 1.0f);
      for (GemmB kind : {GemmB::kRows, GemmB::kColumns}) {
        std::vector<float> panels(panel_bytes(n, k) / sizeof(float), 5.0f);
        pack_panels(f, kind, n, k, b.data(), kind == GemmB::kRows ? n : k, panels.data());
        for (size_t i = 0; i < panels.size(); ++i) {
          const int64_t column = static_cast<int64_t>(i) / (16 * k) * 16 + i % 16;
          ASSERT_EQ(panels[i], column < n ? 1.0f : 0.0f) << n << " columns, at " << i;
        }
      }
    }
}

}  // namespace
}  // namespace tessera
