// Integer products with codebook weights: the integers against plain loops, exactly, on every
// instruction set; the results against what rounding allows.
#include "ops/codebook/int8_matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/compile.h"
#include "core/error.h"
#include "core/parallel.h"
#include "ops/build.h"
#include "ops/codebook/codebook.h"
#include "ops/matmul/matmul.h"
#include "ops/op_list.h"
#include "tests/ops/codebook_matrix.h"

namespace tessera {
namespace {

using test::Aligned;
using test::Matrix;
using test::Spec;

struct Level {
  CpuFeatures features;
  const char* row;
};
std::vector<Level> levels() {
  std::vector<Level> out;
  for (const Level& level :
       {Level{kScalar, "ref"}, Level{kAvx2, "avx2"}, Level{kAvx2 | kAvxVnni, "avxvnni"},
        Level{kAvx2 | kAvx512 | kVnni, "avx512vnni"},
        Level{kAvx2 | kAvx512 | kVnni | kVbmi, "avx512vnnivbmi"}}) {
    if (active_features().includes(level.features)) out.push_back(level);
  }
  return out;
}

std::vector<float> random_x(int64_t n, float low, float high) {
  std::mt19937 rng(5);
  std::uniform_real_distribution<float> uniform(low, high);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = uniform(rng);
  return x;
}

struct Sink {
  std::vector<float>* y;
  int64_t ld;
};
void store(void* context, int64_t row0, int64_t rows, int64_t col0, int64_t cols, float* tile,
           int64_t ld) {
  const auto& sink = *static_cast<Sink*>(context);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      (*sink.y)[static_cast<size_t>((row0 + r) * sink.ld + col0 + c)] = tile[r * ld + c];
}

std::vector<float> multiply(const Matrix& w, int64_t m, const std::vector<float>& x, bool epilogue,
                            CpuFeatures f, int threads) {
  const Int8MatmulPlan plan = prepare_int8_matmul(m, w.view, epilogue, f, threads);
  Aligned scratch(plan.scratch_bytes);
  Aligned packed(static_cast<size_t>(layout_of_int8(w.view).bytes));
  pack_int8(w.view, packed.data());
  // Results in a block of exactly their size.
  std::unique_ptr<float[]> y(new float[static_cast<size_t>(m * w.view.rows)]);
  std::vector<float> out(static_cast<size_t>(m * w.view.rows), 99.0f);
  Sink sink{&out, w.view.rows};
  Int8MatmulArgs args;
  args.x = x.data();
  args.x_rs = w.view.cols;
  args.packed = packed.data();
  args.y = y.get();
  args.ldy = w.view.rows;
  if (epilogue) {
    args.epilogue = store;
    args.epilogue_context = &sink;
  }
  run_int8_matmul(plan, args, scratch.data());
  if (!epilogue) out.assign(y.get(), y.get() + m * w.view.rows);
  return out;
}

// The definition, in plain loops: bytes, integer sums, and two roundings of a block.
std::vector<float> expected(const Matrix& w, int64_t m, const std::vector<float>& x) {
  const CodebookView& v = w.view;
  const int64_t block = v.block ? v.block : std::max<int64_t>(v.cols, 1);
  std::vector<Int8Entries> groups;
  for (int64_t g = 0; g < codebook_groups(v); ++g) groups.push_back(round_entries(v, g));
  std::vector<float> y(static_cast<size_t>(m * v.rows));
  for (int64_t i = 0; i < m; ++i) {
    float low = 0, high = 0;
    for (int64_t c = 0; c < v.cols; ++c) {
      low = std::min(low, x[static_cast<size_t>(i * v.cols + c)]);
      high = std::max(high, x[static_cast<size_t>(i * v.cols + c)]);
    }
    const float scale = high / 255.0f - low / 255.0f, inverse = scale > 0 ? 1.0f / scale : 0.0f;
    const int64_t zero = std::min(255L, std::lrint(-low * inverse));
    for (int64_t r = 0; r < v.rows; ++r) {
      const Int8Entries& entries = groups[static_cast<size_t>(codebook_group(v, r))];
      float& out = y[static_cast<size_t>(i * v.rows + r)];
      for (int64_t begin = 0; begin < v.cols; begin += block) {
        int64_t sum = 0;
        for (int64_t c = begin; c < std::min(v.cols, begin + block); ++c) {
          const int64_t q = std::clamp(
              std::lrint(x[static_cast<size_t>(i * v.cols + c)] * inverse) + zero, 0L, 255L);
          sum += (q - zero) * entries.values[w.index[static_cast<size_t>(r * v.cols + c)]];
        }
        const float weight =
            v.block ? entries.scale * v.scale[w.scale_at(r, begin)] : entries.scale;
        const float factor = weight * scale, value = static_cast<float>(sum);
        out = begin > 0 ? std::fma(value, factor, out) : value * factor;
      }
    }
  }
  return y;
}

std::vector<Spec> specs(int64_t rows, int64_t cols) {
  std::vector<Spec> out;
  for (int bits = 1; bits <= 8; ++bits) {
    out.push_back({bits, rows, cols});
    for (int64_t block : {int64_t{32}, int64_t{96}, cols})
      out.push_back({bits, rows, cols, 1, block == 96 ? int64_t{32} : 0, block, EntryDtype::kS8});
    out.push_back({bits, rows, cols, 1, 16, 0, EntryDtype::kBf16});
  }
  for (int bits : {7, 8}) out.push_back({bits, rows, cols, 1, 3});
  return out;
}

TEST(Int8Matmul, EqualsPlainIntegersOnEveryInstructionSet) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1},
                                   {15, 31},
                                   {16, 32},
                                   {17, 33},
                                   {70, 129},
                                   {150, 200},
                                   {129, 7},
                                   {250, 70}})
    for (const Spec& s : specs(rows, cols)) {
      const Matrix w(s);
      for (int64_t m : {1, 2, 3, 5, 8, 9, 13, 25}) {
        // One-sided rows too: their zero point is at an end.
        const std::vector<float> x = random_x(m * cols, m % 3 ? -1.0f : 0.0f, m == 5 ? 0.0f : 2.0f);
        const std::vector<float> want = expected(w, m, x);
        for (const Level& l : levels())
          ASSERT_EQ(multiply(w, m, x, m % 2 == 0, l.features, 2), want)
              << name(s, l.features) << " m " << m;
      }
    }
}

TEST(Int8Matmul, ManyRowsAndColumns) {
  for (const Spec& s : {Spec{4, 40, 70}, Spec{1, 40, 4100}, Spec{8, 20, 70}}) {
    const Matrix w(s);
    const std::vector<float> x = random_x(250 * s.cols, -1, 1);
    const std::vector<float> want = expected(w, 250, x);
    for (const Level& l : levels())
      for (bool epilogue : {false, true})
        ASSERT_EQ(multiply(w, 250, x, epilogue, l.features, 3), want) << name(s, l.features);
  }
}

// All bytes 255 and all entries -127 or 127: any sum of 16 bits would be cut off.
TEST(Int8Matmul, NothingSaturates) {
  for (int bits : {1, 4, 6, 8})
    for (int64_t cols : {64, 4096, 65536}) {
      Matrix w({bits, 18, cols, 1, 0, 0, EntryDtype::kS8});
      w.view.k = 2;
      w.s8 = {-128, 127};
      w.view.entries = w.s8.data();
      for (int64_t r = 0; r < 18; ++r)
        for (int64_t c = 0; c < cols; ++c)
          w.index[static_cast<size_t>(r * cols + c)] = r % 3 == 0 ? 0 : r % 3 == 1 ? 1 : c % 2;
      pack_indices(w.index.data(), 18 * cols, bits, w.packed.get());
      for (float value : {1.0f, -1.0f}) {
        const std::vector<float> x(static_cast<size_t>(2 * cols), value);
        for (const Level& l : levels()) {
          const std::vector<float> y = multiply(w, 2, x, false, l.features, 1);
          ASSERT_EQ(y, expected(w, 2, x)) << name(Spec{bits, 18, cols}, l.features);
          EXPECT_NEAR(y[0], -128.0f * value * static_cast<float>(cols), 1e-6 * 128 * cols);
        }
      }
    }
}

TEST(Int8Matmul, WithinTheBoundOfRounding) {
  for (const Spec& s : specs(33, 192)) {
    const Matrix w(s);
    const std::vector<float> x = random_x(4 * 192, -1, 3);
    const std::vector<float> y = multiply(w, 4, x, false, active_features(), 1);
    for (int64_t i = 0; i < 4; ++i) {
      float low = 0, high = 0;
      for (int64_t c = 0; c < 192; ++c) {
        low = std::min(low, x[static_cast<size_t>(i * 192 + c)]);
        high = std::max(high, x[static_cast<size_t>(i * 192 + c)]);
      }
      const double dx = (high - low) / 255.0;
      for (int64_t r = 0; r < 33; ++r) {
        const double entry = round_entries(w.view, codebook_group(w.view, r)).scale;
        double sum = 0, bound = 0;
        for (int64_t c = 0; c < 192; ++c) {
          const double exact = w.dense[static_cast<size_t>(r * 192 + c)];
          const double value = x[static_cast<size_t>(i * 192 + c)];
          const double dw = s.dtype == EntryDtype::kS8
                                ? 0
                                : 0.5 * entry * (s.block ? std::abs(w.scale[w.scale_at(r, c)]) : 1);
          sum += value * exact;
          bound += dx * std::abs(exact) + std::abs(value) * dw + dx * dw;
        }
        EXPECT_LE(std::abs(y[static_cast<size_t>(i * 33 + r)] - sum), bound * 1.00001)
            << name(s, kScalar) << " " << i << " " << r;
      }
    }
  }
}

TEST(Int8Matmul, ZerosTinyAndNotFiniteRows) {
  const Spec s{4, 20, 45};
  const Matrix w(s);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const Level& l : levels()) {
    std::vector<float> x = random_x(6 * 45, -1, 1);
    std::fill_n(x.begin(), 45, 0.0f);
    std::fill_n(x.begin() + 45, 45, 0x1p-120f);
    x[2 * 45 + 44] = std::numeric_limits<float>::quiet_NaN();
    x[3 * 45] = kInf;
    x[4 * 45 + 7] = -kInf;
    const std::vector<float> y = multiply(w, 6, x, false, l.features, 1);
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(y[i], 0.0f);
      EXPECT_EQ(y[20 + i], 0.0f);
      for (size_t row : {2, 3, 4}) EXPECT_TRUE(std::isnan(y[20 * row + i])) << row;
      EXPECT_TRUE(std::isfinite(y[100 + i]));
    }
    Matrix broken(s);
    broken.entries[3] = std::numeric_limits<float>::quiet_NaN();
    broken.view.entries = broken.entries.data();
    for (const float v : multiply(broken, 1, random_x(45, -1, 1), false, l.features, 1))
      EXPECT_TRUE(std::isnan(v));
    // The largest floats there are do not overflow on the way.
    std::fill(x.begin(), x.end(), std::numeric_limits<float>::max());
    x[0] = -x[0];
    Matrix small({1, 16, 45});
    small.entries = {0x1p-40f, -0x1p-40f};
    small.view.entries = small.entries.data();
    for (const float v : multiply(small, 1, x, false, l.features, 1)) EXPECT_TRUE(std::isfinite(v));
  }
}

TEST(Int8Matmul, SameBitsForAnyThreadCount) {
  const int before = num_threads();
  const Spec whole{4, 300, 784};
  for (const Spec& spec : {whole, Spec{3, 300, 800, 1, 0, 160}}) {
    const Matrix w(spec);
    const std::vector<float> x = random_x(250 * spec.cols, -1, 1);
    for (const Level& l : levels())
      for (int64_t m : {1, 6, 24, 250}) {
        set_num_threads(1);
        const std::vector<float> one = multiply(w, m, x, false, l.features, 1);
        for (int threads : {2, 3}) {
          set_num_threads(threads);
          EXPECT_EQ(multiply(w, m, x, true, l.features, threads), one) << text(l.features);
        }
      }
  }
  set_num_threads(before);
}

TEST(Int8Matmul, EmptySizes) {
  for (const Level& l : levels()) {
    EXPECT_TRUE(multiply(Matrix({4, 0, 8}), 3, random_x(24, -1, 1), false, l.features, 1).empty());
    EXPECT_TRUE(multiply(Matrix({4, 5, 8}), 0, {}, false, l.features, 1).empty());
    for (const float v : multiply(Matrix({4, 5, 0}), 3, {}, false, l.features, 1)) EXPECT_EQ(v, 0);
  }
}

TEST(Int8Matmul, EntriesAreRoundedBest) {
  Matrix w({1, 1, 8});
  w.entries = {0.3f, -0.2f};  // a scale of 0.1 / 42 holds both
  w.view.entries = w.entries.data();
  const Int8Entries e = round_entries(w.view, 0);
  EXPECT_NEAR(e.values[0] * e.scale, 0.3f, 1e-7);
  EXPECT_NEAR(e.values[1] * e.scale, -0.2f, 1e-7);
  w.entries = {0, 0};
  EXPECT_EQ(round_entries(w.view, 0).scale, 0.0f);
}

TEST(Int8Matmul, PackedFormIsNoLargerThanIndicesAndScales) {
  for (int bits = 1; bits <= 8; ++bits) {
    const Matrix m({bits, 304, 800});
    const int64_t form = bits >= 7 ? 8 : bits;
    EXPECT_EQ(layout_of_int8(m.view).bytes,
              304 * 800 * form / 8 + 19 * kInt8MetaBytes + (bits < 7 ? 64 : 0));
  }
}

TEST(Int8Matmul, SaysWhatDoesNotFit) {
  const char* reason = nullptr;
  EXPECT_TRUE(int8_fits(Matrix({4, 40, 64, 1, 16, 32}).view, &reason));
  EXPECT_STREQ(reason, "");
  EXPECT_FALSE(int8_fits(Matrix({4, 40, 64, 2}).view, &reason));
  EXPECT_STREQ(reason, "entries of several weights");
  EXPECT_FALSE(int8_fits(Matrix({4, 40, 64, 1, 8}).view, &reason));
  EXPECT_STREQ(reason, "row groups are no multiple of 16");
  EXPECT_TRUE(int8_fits(Matrix({7, 40, 64, 1, 8}).view, &reason));
  EXPECT_FALSE(int8_fits(Matrix({4, 40, 64, 1, 0, 12}).view, &reason));
  EXPECT_STREQ(reason, "scale blocks are no multiple of 32");
  EXPECT_FALSE(int8_fits(Matrix({1, 1, 65537}).view, &reason));
  EXPECT_TRUE(int8_fits(Matrix({1, 1, 65537, 1, 0, 32768}).view, &reason));
}

// A compiled product with a bias and an activation, in f32 and in integers.
Plan plan_of(const Matrix& w, int64_t batch, CpuFeatures features, bool int8, State& state) {
  const CodebookFormat format{.bits = w.view.bits};
  const Shape shape{w.view.rows, w.view.cols};
  Graph g(ops::standard_ops());
  const Value x = g.input("x", f32({batch, w.view.cols}));
  const Value indices = g.param("w.indices", {DType::u8, format.indices_shape(shape), {}});
  const Value entries = g.param("w.entries", f32({1, w.view.k}));
  const Value bias = g.param("b", f32({w.view.rows}));
  const Value weight = ops::codebook(indices, entries, {}, format, shape);
  g.set_output("y", ops::relu(ops::linear(x, weight, bias)));
  std::vector<float> b(static_cast<size_t>(w.view.rows), 0.25f);
  const std::vector<uint8_t> planes(w.packed.get(), w.packed.get() + codebook_index_bytes(w.view));
  state.set("w.indices", Tensor::from(planes, format.indices_shape(shape)));
  state.set("w.entries", Tensor::from(w.entries, Shape{1, w.view.k}));
  state.set("b", Tensor::from(b, Shape{w.view.rows}));
  return compile(g, state, {.features = features, .int8 = int8});
}

TEST(Int8Matmul, EveryRowIsChosenWhenAskedFor) {
  const Matrix w({4, 48, 96});
  for (const Level& l : levels()) {
    State state;
    const auto kernel = [&](bool int8) {
      const Plan plan = plan_of(w, 2, l.features, int8, state);
      for (const StepInfo& step : plan.steps())
        if (step.op == "matmul") return step.kernel;
      return std::string();
    };
    EXPECT_EQ(kernel(true), std::string("matmul_s8_cb_") + l.row);
    EXPECT_EQ(kernel(false).find("matmul_s8"), std::string::npos);
  }
}

TEST(Int8Matmul, CarriesTheEpilogue) {
  const Matrix w({4, 48, 96});
  const std::vector<float> x = random_x(10 * 96, -1, 1);
  std::vector<float> want = expected(w, 10, x);
  for (float& v : want) v = std::max(0.0f, v + 0.25f);
  for (const Level& l : levels()) {
    State state;
    const Plan plan = plan_of(w, 10, l.features, true, state);
    const Tensor y = plan.run({{"x", Tensor::from(x, Shape{10, 96})}}).at("y");
    const auto got = y.span<float>();
    EXPECT_EQ(std::vector<float>(got.begin(), got.end()), want) << l.row;
  }
}

}  // namespace
}  // namespace tessera
