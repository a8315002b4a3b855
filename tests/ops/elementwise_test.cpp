// Accuracy and special values of the vector functions, broadcasting, and ProgramRunner on tiles.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/parallel.h"
#include "ops/build.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/program_runner.h"
#include "ops/op_list.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<const ElementwiseKernels*> kernels_here() {
  std::vector<const ElementwiseKernels*> out = {&tessera_elementwise_ref};
#if defined(__x86_64__)
  if (active_features().includes(kAvx2)) out.push_back(&tessera_elementwise_avx2);
  if (active_features().includes(kAvx512)) out.push_back(&tessera_elementwise_avx512);
#endif
  return out;
}

std::vector<float> apply(const ElementwiseKernels& kernels, const OpDef& op,
                         const std::vector<float>& x) {
  std::vector<float> y(x.size());
  const auto f = kernels.function[static_cast<std::size_t>(*opcode_of(op))];
  f({1, static_cast<std::int64_t>(x.size()), {x.data()}, {0}, y.data(), 0});
  return y;
}

struct Accuracy {
  const OpDef* op;
  float low, high;
  double relative;       // bound of |error| / |value|
  double floor = 1e-37;  // values below this are compared absolutely
};

TEST(Elementwise, ErrorsStayInBounds) {
  const Accuracy table[] = {
      {&kExp, -87, 88.7f, 2e-7}, {&kLog, 1e-37f, 3e38f, 2e-7, 1}, {&kLog, 0.5f, 2, 2e-7, 0.05},
      {&kTanh, -12, 12, 2e-7},   {&kTanh, -1e-3f, 1e-3f, 2e-7},   {&kSigmoid, -80, 80, 2.5e-7},
      {&kErf, -5, 5, 2e-7},      {&kErf, -0.1f, 0.1f, 2e-7},      {&kSoftplus, -80, 80, 3e-7},
      {&kSqrt, 0, 1e30f, 7e-8},  {&kRsqrt, 1e-30f, 1e30f, 2e-7}};
  for (const auto* kernels : kernels_here()) {
    for (const Accuracy& row : table) {
      std::vector<float> x;
      constexpr int kPoints = 200003;
      const bool geometric = row.low > 0 && row.high / row.low > 1e6f;
      for (int i = 0; i < kPoints; ++i) {
        const double t = static_cast<double>(i) / (kPoints - 1);
        x.push_back(geometric
                        ? static_cast<float>(row.low * std::pow(double{row.high} / row.low, t))
                        : static_cast<float>(row.low + (row.high - row.low) * t));
      }
      const auto y = apply(*kernels, *row.op, x);
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double in = x[i], want = row.op->scalar(&in);
        const double error = std::fabs(y[i] - want) / std::max(std::fabs(want), row.floor);
        if (!(error <= worst)) {
          worst = error;
          at = x[i];
        }
      }
      EXPECT_LE(worst, row.relative) << row.op->name << " " << kernels->name << " at " << at;
    }
  }
}

TEST(Elementwise, SpecialValues) {
  const float nan = std::nanf("");
  struct Row {
    const OpDef* op;
    float x, want;
  };
  const Row table[] = {
      {&kExp, 0, 1},         {&kExp, kInf, kInf},    {&kExp, -kInf, 0},     {&kExp, 89, kInf},
      {&kExp, -110, 0},      {&kExp, nan, nan},      {&kLog, 1, 0},         {&kLog, 0, -kInf},
      {&kLog, -1, nan},      {&kLog, kInf, kInf},    {&kLog, nan, nan},     {&kTanh, 0, 0},
      {&kTanh, 20, 1},       {&kTanh, -20, -1},      {&kTanh, kInf, 1},     {&kTanh, -kInf, -1},
      {&kTanh, nan, nan},    {&kSigmoid, 0, 0.5f},   {&kSigmoid, 200, 1},   {&kSigmoid, -200, 0},
      {&kSigmoid, nan, nan}, {&kErf, 0, 0},          {&kErf, 10, 1},        {&kErf, -kInf, -1},
      {&kErf, nan, nan},     {&kSoftplus, 100, 100}, {&kSoftplus, -200, 0}, {&kSoftplus, nan, nan},
      {&kRelu, -1, 0},       {&kRelu, nan, nan},     {&kRelu, kInf, kInf},  {&kSqrt, -1, nan},
      {&kRsqrt, 0, kInf},    {&kSign, nan, nan},     {&kSign, -0.0f, 0},    {&kRound, 2.5f, 2},
      {&kRound, 3.5f, 4},    {&kRound, -0.5f, 0},    {&kFloor, -0.5f, -1},  {&kAbs, -kInf, kInf},
      {&kNeg, 0, 0},         {&kSquare, -3, 9},      {&kDetach, nan, nan}};
  for (const auto* kernels : kernels_here()) {
    for (const Row& row : table) {
      // In the middle of a vector, and in a tail.
      for (const std::size_t n : {std::size_t{1}, std::size_t{40}}) {
        const auto y = apply(*kernels, *row.op, std::vector<float>(n, row.x));
        for (const float v : y) {
          EXPECT_TRUE(v == row.want || (std::isnan(v) && std::isnan(row.want)))
              << row.op->name << "(" << row.x << ") = " << v << " " << kernels->name;
        }
      }
    }
  }
}

TEST(Elementwise, NanWinsInMaximumAndMinimum) {
  const float nan = std::nanf("");
  for (const auto* kernels : kernels_here()) {
    for (const OpDef* op : {&kMaximum, &kMinimum, &kAdd, &kClamp}) {
      for (const auto& [a, b] : {std::pair(nan, 1.0f), std::pair(1.0f, nan)}) {
        float out = 0;
        const float c = 2;
        kernels->function[static_cast<std::size_t>(*opcode_of(*op))](
            {1, 1, {&a, &b, &c}, {0, 0, 0}, &out, 0});
        EXPECT_TRUE(std::isnan(out)) << op->name << " " << kernels->name;
      }
    }
  }
}

// An element's bits must not depend on where it falls in a vector.
TEST(Elementwise, BitsDoNotDependOnPosition) {
  for (const auto* kernels : kernels_here()) {
    for (const OpDef* op : {&kExp, &kLog, &kTanh, &kSigmoid, &kErf, &kSoftplus}) {
      std::vector<float> x;
      for (int i = 0; i < 61; ++i) x.push_back(0.37f + 0.11f * static_cast<float>(i));
      const auto whole = apply(*kernels, *op, x);
      for (std::size_t start = 1; start < x.size(); ++start) {
        const auto part =
            apply(*kernels, *op, {x.begin() + static_cast<std::ptrdiff_t>(start), x.end()});
        EXPECT_EQ(std::bit_cast<std::uint32_t>(part[0]),
                  std::bit_cast<std::uint32_t>(whole[start]));
      }
    }
  }
}

TEST(Elementwise, Broadcasting) {
  const std::pair<Shape, Shape> pairs[] = {{{0}, {1}},
                                           {{4, 0}, {4, 1}},
                                           {{1, 1, 1}, {1}},
                                           {{2, 3, 4, 5}, {3, 1, 5}},
                                           {{2, 1, 4, 1}, {3, 1, 5}},
                                           {{5, 1, 7}, {6, 1}},
                                           {{1, 8, 1, 3}, {2, 1, 4, 3}},
                                           {{40000, 3}, {3}},
                                           {{3, 40000}, {3, 1}},
                                           {{2, 3, 600}, {2, 1, 600}},
                                           {{70, 1}, {1, 900}},
                                           {{1}, {2, 3, 4, 5, 6}}};
  for (const auto& [a, b] : pairs) {
    SCOPED_TRACE(a.text() + b.text());
    Rng rng(1, 2);
    const test::Case c =
        test::make_case(kSub, {{{{DType::f32, a, {}}}, {{DType::f32, b, {}}}}, {}}, rng);
    const auto want = c.reference();
    for (const KernelRow& row : kSub.rows) {
      if (!test::runs_here(row)) continue;
      const auto run = test::run_row(c, row);
      for (std::int64_t i = 0; i < want[0].numel(); ++i) {
        ASSERT_FLOAT_EQ(static_cast<float>(element(run.outputs[0], i)),
                        static_cast<float>(want[0].v[static_cast<std::size_t>(i)]))
            << row.name << " element " << i;
      }
    }
  }
}

TEST(Elementwise, GradientsScaledByTheirSign) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({2, 3})), d = graph.input("d", f32({3})),
              c = graph.input("c", f32({2, 3}));
  const Value y = ops::scale_gradient(x, d);
  graph.set_output("y", y);
  graph.set_output("dx", grad(ops::sum(y * c), std::vector{x})[0]);
  const Plan plan = compile(graph, State(), {});
  const auto out = plan.run({{"x", Tensor::from<float>({1, 2, 3, 4, 5, 6}, {2, 3})},
                             {"d", Tensor::from<float>({0.5f, -0.25f, 0}, {3})},
                             {"c", Tensor::from<float>({2, 2, 2, -2, -2, 0}, {2, 3})}});
  EXPECT_EQ(out.at("y").to_vector<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(out.at("dx").to_vector<float>(), (std::vector<float>{3, 1.5f, 2, -1, -2.5f, 0}));
}

TEST(Elementwise, BuildersNameTheOp) {
  Graph graph(ops::standard_ops());
  const Value a = graph.input("a", f32({2, 3})), b = graph.input("b", f32({4}));
  const auto message = [](auto&& fn) -> std::string {
    try {
      fn();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message([&] { a + b; }), "[add] shapes [2,3] and [4] do not broadcast");
  EXPECT_EQ(message([&] { ops::tanh(Value()); }).substr(0, 6), "[tanh]");
  EXPECT_EQ(message([&] { ops::add(1.0, 2.0); }).substr(0, 5), "[add]");
  EXPECT_EQ(message([&] { ops::add(a, Value()); }).substr(0, 5), "[add]");
  EXPECT_EQ(message([&] { ops::exp(graph.input("i", s32({2}))); }).substr(0, 5), "[exp]");
}

Program program(std::string_view text) {
  return parse_program(ops::standard_ops(), text);
}

// Tiles of a matrix, in any order, give the same bits as the whole matrix at once.
TEST(ProgramRunner, TilesEqualTheWhole) {
  constexpr std::int64_t kRows = 37, kCols = 75, kLd = 80;
  const Program p =
      program("t0=add(a0,a1);t1=mul(t0,a2);t2=tanh(t1);t3=mul(a3,0.5);t4=add(t2,t3)->t4,t0");
  const std::vector<OperandKind> kinds = {OperandKind::full, OperandKind::row, OperandKind::column,
                                          OperandKind::scalar};
  std::vector<float> x(kRows * kLd), row(kCols), column(kRows), scalar = {1.25f};
  Rng rng(3, 4);
  for (auto* v : {&x, &row, &column}) {
    for (float& e : *v) e = rng.normal();
  }
  for (const CpuFeatures features : {kScalar, active_features()}) {
    const ProgramRunner runner(p, kinds, features);
    std::vector<float> whole[2], tiled[2];
    for (auto* outs : {&whole, &tiled}) {
      for (auto& out : *outs) out.assign(kRows * kLd, -7.0f);
    }
    const ProgramInput in[] = {
        {x.data(), kLd}, {row.data(), 0}, {column.data(), 1}, {scalar.data(), 0}};
    const ProgramOutput to_whole[] = {{whole[0].data(), kLd}, {whole[1].data(), kLd}};
    runner.run(kRows, kCols, in, to_whole);
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t c = 0; c < kLd; ++c) {
        const auto at = static_cast<std::size_t>(r * kLd + c);
        const double sum = double{x[at]} + row[static_cast<std::size_t>(std::min(c, kCols - 1))];
        const double want = std::tanh(sum * column[static_cast<std::size_t>(r)]) + 0.625;
        if (c < kCols) {
          EXPECT_NEAR(whole[0][at], want, 1e-6);
          EXPECT_NEAR(whole[1][at], sum, 1e-6);
        } else {
          EXPECT_EQ(whole[0][at], -7.0f) << "wrote past the row";
        }
      }
    }
    const ProgramOutput to_tiled[] = {{tiled[0].data(), kLd}, {tiled[1].data(), kLd}};
    constexpr std::int64_t kTileRows = 6, kTileCols = 32;
    std::vector<float> tile(kTileRows * kTileCols);
    for (std::int64_t r = 0; r < kRows; r += kTileRows) {
      for (std::int64_t c = 0; c < kCols; c += kTileCols) {
        const std::int64_t h = std::min(kTileRows, kRows - r), w = std::min(kTileCols, kCols - c);
        for (std::int64_t i = 0; i < h; ++i) {
          std::copy_n(x.data() + (r + i) * kLd + c, w, tile.data() + i * kTileCols);
        }
        ProgramInput tile_in[4];
        std::copy(std::begin(in), std::end(in), tile_in);
        tile_in[0] = {tile.data(), kTileCols};
        runner.run_at(r, c, h, w, tile_in, to_tiled, true);
      }
    }
    EXPECT_EQ(whole[0], tiled[0]);
    EXPECT_EQ(whole[1], tiled[1]);
  }
}

TEST(ProgramRunner, LongProgramsAndSharedBuffers) {
  // Outputs that share inputs read by later instructions: SGD with momentum.
  const Program p = program(
      "t0=mul(a2,0.9);t1=add(t0,a1);t2=mul(t1,0.9);t3=add(a1,t2);t4=mul(a3,t3);t5=sub(a0,t4)->t1,"
      "t5");
  const std::vector<OperandKind> kinds = {OperandKind::full, OperandKind::full, OperandKind::full,
                                          OperandKind::scalar};
  constexpr std::int64_t kN = 3001;
  std::vector<float> w(kN), g(kN), m(kN), lr = {0.1f};
  for (std::size_t i = 0; i < w.size(); ++i) {
    w[i] = static_cast<float>(i % 13);
    g[i] = static_cast<float>(i % 7) - 3;
    m[i] = static_cast<float>(i % 5);
  }
  auto w2 = w, m2 = m;
  const ProgramRunner runner(p, kinds, active_features());
  const ProgramInput in[] = {{w2.data(), kN}, {g.data(), kN}, {m2.data(), kN}, {lr.data(), 0}};
  const ProgramOutput out[] = {{m2.data(), kN}, {w2.data(), kN}};
  runner.run(1, kN, in, out);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const float momentum = 0.9f * m[i] + g[i];
    EXPECT_NEAR(m2[i], momentum, 1e-5);
    EXPECT_NEAR(w2[i], w[i] - 0.1f * (g[i] + 0.9f * momentum), 1e-5);
  }

  // More live values than slots of the usual size.
  std::string text = "t0=add(a0,0.001)";
  for (int i = 1; i < 150; ++i) text += cat(";t", i, "=add(t", i - 1, ",", i * 0.5, ")");
  int last = 149;
  for (int i = 0; i < 149; ++i) {
    text += cat(";t", last + 1, "=add(t", last, ",t", i, ")");
    ++last;
  }
  const Program big = program(text + cat("->t", last));
  const ProgramRunner long_runner(big, {OperandKind::full}, active_features());
  std::vector<float> x(1000, 1.0f), y(1000);
  const ProgramInput one[] = {{x.data(), 1000}};
  const ProgramOutput result[] = {{y.data(), 1000}};
  long_runner.run(1, 1000, one, result);
  const double argument = 1;
  double want = 0;
  evaluate(big, &argument, &want);
  for (const float v : y) EXPECT_NEAR(v, want, std::fabs(want) * 1e-5);
}

double cube(const double* x) {
  return x[0] * x[0] * x[0];
}

// A user's elementwise op has a scalar function only; it runs, alone and inside programs.
TEST(ProgramRunner, UserOp) {
  static const OpDef kCube{.name = "test_cube",
                           .doc = "x^3",
                           .inputs = {{.name = "x", .differentiable = false}},
                           .traits = kElementwise,
                           .infer = kNeg.infer,
                           .ref = kNeg.ref,
                           .scalar = cube,
                           .rows = elementwise_rows()};
  const Program p{
      1, {{&kCube, {{Operand::Kind::input, 0, 0}}}, {&kNeg, {{Operand::Kind::temp, 0, 0}}}}, {1}};
  const ProgramRunner runner(p, {OperandKind::full}, active_features());
  std::vector<float> x = {1, 2, -3}, y(3);
  const ProgramInput in[] = {{x.data(), 3}};
  const ProgramOutput out[] = {{y.data(), 3}};
  runner.run(1, 3, in, out);
  EXPECT_EQ(y, (std::vector<float>{-1, -8, 27}));
}

TEST(Fused, BigTensorsAndThreads) {
  Rng rng(5, 6);
  const Sample sample{
      {{f32({700, 333})}, {f32({333})}, {f32({700, 1})}, {f32({})}},
      {{"program", sample_program("t0=mul(a0,a1);t1=add(t0,a2);t2=exp(a3);t3=mul(t1,t2);"
                                  "t4=tanh(t3)->t4,t1")}}};
  const test::Case c = test::make_case(kFused, sample, rng);
  const auto want = c.reference();
  const int before = num_threads();
  for (const KernelRow& row : kFused.rows) {
    if (!test::runs_here(row) || row.name == "reference") continue;
    std::vector<Tensor> first;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const auto run = test::run_row(c, row);
      if (threads == 1) first = run.outputs;
      for (std::size_t o = 0; o < 2; ++o) EXPECT_TRUE(equal_bits(first[o], run.outputs[o]));
    }
    for (std::size_t o = 0; o < 2; ++o) {
      for (std::int64_t i = 0; i < want[o].numel(); ++i) {
        ASSERT_NEAR(element(first[o], i), want[o].v[static_cast<std::size_t>(i)], 2e-6) << row.name;
      }
    }
  }
  set_num_threads(before);
}

}  // namespace
}  // namespace tessera
