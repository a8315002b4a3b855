// What single families promise beyond their samples.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/autodiff.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using test::Case;
using test::make_case;
using test::run_row;
using test::runs_here;

// Calls fn(row, outputs) for every row that serves the case here.
template <class Fn>
void each_row(const Case& c, Fn&& fn) {
  for (const KernelRow& row : c.node->op().rows) {
    if (!runs_here(row)) continue;
    const auto run = run_row(c, row);
    SCOPED_TRACE(row.name);
    if (run.refusal.empty()) fn(row, run.outputs);
  }
}

TEST(Softmax, LargeLogitsAndNan) {
  Rng rng(1, 1);
  const double inf = std::numeric_limits<double>::infinity();
  for (const OpDef* op : {&kSoftmax, &kLogSoftmax}) {
    const bool logarithm = op == &kLogSoftmax;
    Case c = make_case(*op, {{{f32({4, 3})}}, {}}, rng);
    set_input(c, 0, {1e4, 1e4, -1e4, -3e38, -3e38, 0, 1, std::nan(""), 2, 0, -inf, 0});
    each_row(c, [&](const KernelRow&, const std::vector<Tensor>& out) {
      const auto y = out[0].span<float>();
      const auto at = [&](int i) {
        return logarithm ? std::exp(y[static_cast<std::size_t>(i)])
                         : y[static_cast<std::size_t>(i)];
      };
      EXPECT_NEAR(at(0), 0.5, 1e-6);
      EXPECT_NEAR(at(1), 0.5, 1e-6);
      EXPECT_EQ(at(2), 0);
      EXPECT_NEAR(at(5), 1, 1e-6);
      for (int i = 6; i < 9; ++i) EXPECT_TRUE(std::isnan(at(i))) << i;
      EXPECT_NEAR(at(9), 0.5, 1e-6);
      EXPECT_EQ(at(10), 0);
    });
  }
}

TEST(CrossEntropy, LargeLogits) {
  Rng rng(1, 2);
  Case c = make_case(kCrossEntropy, {{{f32({3, 2})}, {s32({3}), 0, 0, {0, 1, 0}}}, {}}, rng);
  set_input(c, 0, {1e4, -1e4, 1e4, -1e4, 80, 80});
  each_row(c, [&](const KernelRow&, const std::vector<Tensor>& out) {
    const auto loss = out[0].span<float>();
    EXPECT_EQ(loss[0], 0);
    EXPECT_EQ(loss[1], 2e4f);
    EXPECT_NEAR(loss[2], std::log(2.0), 1e-5);
  });
}

TEST(CrossEntropy, RefusesLabelsOutside) {
  Rng rng(1, 3);
  for (const double label : {-1.0, 3.0}) {
    const Case c = make_case(kCrossEntropy, {{{f32({1, 3})}, {s32({1}), 0, 0, {label}}}, {}}, rng);
    for (const KernelRow& row : kCrossEntropy.rows) {
      if (!runs_here(row)) continue;
      try {
        run_row(c, row);
        ADD_FAILURE() << row.name << " took label " << label;
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()),
                  cat("[cross_entropy] label ", label, " is outside [0, 3)"));
      }
    }
  }
}

TEST(CrossEntropy, SoftTargetsAgreeWithLabels) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({2, 3})), labels = graph.input("labels", s32({2}));
  const Value hard = ops::cross_entropy(x, labels),
              soft = ops::soft_cross_entropy(x, ops::one_hot(labels, 3));
  const auto r = interpret(
      graph, {{"x", {x.type(), {1, 2, 3, -1, 0, 4}}}, {"labels", {labels.type(), {2, 0}}}},
      {hard, soft});
  for (std::size_t i = 0; i < 2; ++i) EXPECT_NEAR(r[0].v[i], r[1].v[i], 1e-12);
}

TEST(Reduce, BigTensorsAndThreads) {
  Rng rng(2, 1);
  const std::pair<Shape, Ints> cases[] = {{{1000, 1000}, {0}},    {{1000, 1000}, {1}},
                                          {{1000, 1000}, {0, 1}}, {{64, 20, 500}, {0, 2}},
                                          {{3, 70000}, {1}},      {{70000, 3}, {0}}};
  const int before = num_threads();
  for (const OpDef* op : {&kSum, &kMax}) {
    for (const auto& [shape, axes] : cases) {
      SCOPED_TRACE(cat(op->name, shape.text()));
      const Case c = make_case(*op, {{{{DType::f32, shape, {}}}}, {{"axes", axes}}}, rng);
      const auto want = c.reference()[0];
      std::vector<Tensor> first;
      for (const KernelRow& row : op->rows) {
        if (!runs_here(row) || row.name == "reference") continue;
        for (const int threads : {1, 2, 3}) {
          set_num_threads(threads);
          auto run = run_row(c, row);
          if (!run.refusal.empty()) continue;
          // Every instruction set runs the same additions.
          if (first.empty()) first = run.outputs;
          EXPECT_TRUE(equal_bits(first[0], run.outputs[0])) << row.name << " threads " << threads;
        }
      }
      const double terms = static_cast<double>(shape.numel()) / static_cast<double>(want.numel());
      for (std::int64_t i = 0; i < want.numel(); ++i) {
        ASSERT_NEAR(element(first[0], i), want.v[static_cast<std::size_t>(i)],
                    2e-6 * std::sqrt(terms));
      }
    }
  }
  set_num_threads(before);
}

TEST(Reduce, NanWinsInMax) {
  Rng rng(2, 2);
  for (const std::int64_t n : {3, 100, 9000}) {
    for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
      Case c = make_case(kMax, {{{{DType::f32, {n}, {}}}}, {}}, rng);
      auto values = c.inputs[0].v;
      values[static_cast<std::size_t>(at)] = std::nan("");
      set_input(c, 0, values);
      each_row(c, [&](const KernelRow&, const std::vector<Tensor>& out) {
        EXPECT_TRUE(std::isnan(out[0].item())) << n << " " << at;
      });
    }
  }
}

TEST(Reduce, MeanOverASymbolicBatch) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", {DType::f32, {kBatch, 3}, {}});
  const Value loss = ops::mean(ops::square(x));
  graph.set_output("loss", loss);
  graph.set_output("dx", grad(loss, std::vector{x})[0]);
  const Graph bound = specialize(graph, 2);
  const RefTensor data{f32({2, 3}), {1, 2, 3, 4, 5, 6}};
  const auto r = interpret(bound, {{"x", data}}, {bound.output("loss"), bound.output("dx")});
  EXPECT_NEAR(r[0].v[0], 91.0 / 6, 1e-12);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(r[1].v[i], 2 * data.v[i] / 6, 1e-12);
}

TEST(Random, IsUniformAndKeyed) {
  Rng rng(3, 1);
  const TensorType scalar{DType::s64, {}, {}};
  const auto draw = [&](double seed, double step, std::int64_t id) {
    const Case c = make_case(
        kUniform,
        {{{scalar, 0, 0, {seed}}, {scalar, 0, 0, {step}}}, {{"shape", Shape{100000}}, {"id", id}}},
        rng);
    Tensor first;
    each_row(c, [&](const KernelRow& row, const std::vector<Tensor>& out) {
      if (!first.defined()) first = out[0];
      EXPECT_TRUE(equal_bits(first, out[0])) << row.name;
    });
    return first;
  };
  const Tensor u = draw(1, 2, 3);
  double mean = 0, square = 0;
  for (const float v : u.span<float>()) {
    EXPECT_TRUE(v >= 0 && v < 1);
    mean += v / 1e5;
    square += double{v} * v / 1e5;
  }
  EXPECT_NEAR(mean, 0.5, 0.004);
  EXPECT_NEAR(square, 1.0 / 3, 0.004);
  EXPECT_TRUE(equal_bits(u, draw(1, 2, 3)));
  for (const Tensor& other : {draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)}) {
    double covariance = 0;
    for (std::size_t i = 0; i < 100000; ++i) {
      covariance += (u.span<float>()[i] - 0.5) * (other.span<float>()[i] - 0.5) / 1e5;
    }
    EXPECT_NEAR(covariance, 0, 0.0015);
  }
}

TEST(Random, Dropout) {
  Graph graph(ops::standard_ops());
  const Value x = graph.input("x", f32({20000}));
  const TensorType scalar{DType::s64, {}, {}};
  const Value seed = graph.input("seed", scalar), step = graph.input("step", scalar);
  const Value y = ops::dropout(x, 0.25, seed, step, "fc1.dropout");
  EXPECT_EQ(ops::dropout(x, 0, seed, step, "none"), x);
  EXPECT_THROW(ops::dropout(x, 1, seed, step, "all"), Error);
  const auto r = interpret(graph,
                           {{"x", {x.type(), std::vector<double>(20000, 3.0)}},
                            {"seed", {scalar, {5}}},
                            {"step", {scalar, {1}}}},
                           {y});
  int kept = 0;
  for (const double v : r[0].v) {
    EXPECT_TRUE(v == 0 || std::fabs(v - 4) < 1e-12);
    kept += v != 0;
  }
  EXPECT_NEAR(kept, 15000, 300);
}

// One weight, three steps, against torch.optim (values computed by hand from its documentation).
TEST(Optim, SgdFollowsItsFormula) {
  for (const bool nesterov : {false, true}) {
    double w = 1, m = 0;
    for (int t = 0; t < 3; ++t) {
      Graph graph(ops::standard_ops());
      const Value p = graph.input("w", f32({1})), g = graph.input("g", f32({1}));
      const Value buffer = graph.input("m", f32({1})), lr = graph.input("lr", f32({}));
      const auto next = ops::sgd_update(p, g, buffer, lr, 0.9, nesterov, 0.01);
      const double gradient = 0.5 + t;
      const auto r = interpret(graph,
                               {{"w", {p.type(), {w}}},
                                {"g", {g.type(), {gradient}}},
                                {"m", {p.type(), {m}}},
                                {"lr", {lr.type(), {0.1}}}},
                               {next.param, next.momentum});
      const double decayed = gradient + 0.01 * w;
      m = 0.9 * m + decayed;
      w -= 0.1 * (nesterov ? decayed + 0.9 * m : m);
      EXPECT_NEAR(r[0].v[0], w, 1e-12);
      EXPECT_NEAR(r[1].v[0], m, 1e-12);
    }
  }
}

TEST(Optim, AdamFollowsItsFormula) {
  for (const bool decoupled : {false, true}) {
    double w = 1, m = 0, v = 0;
    for (int t = 1; t <= 3; ++t) {
      Graph graph(ops::standard_ops());
      const Value p = graph.input("w", f32({1})), g = graph.input("g", f32({1}));
      const Value mean = graph.input("m", f32({1})), variance = graph.input("v", f32({1}));
      const Value step = graph.input("step", {DType::s64, {}, {}});
      const auto next =
          ops::adam_update(p, g, mean, variance, step, 0.01, 0.1, {.decoupled_decay = decoupled});
      double gradient = 0.5 - t;
      const auto r = interpret(graph,
                               {{"w", {p.type(), {w}}},
                                {"g", {g.type(), {gradient}}},
                                {"m", {p.type(), {m}}},
                                {"v", {p.type(), {v}}},
                                {"step", {step.type(), {static_cast<double>(t)}}}},
                               {next.param, next.mean, next.variance});
      if (decoupled)
        w *= 1 - 0.01 * 0.1;
      else
        gradient += 0.1 * w;
      m = 0.9 * m + 0.1 * gradient;
      v = 0.999 * v + 0.001 * gradient * gradient;
      w -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      EXPECT_NEAR(r[0].v[0], w, 1e-9);
      EXPECT_NEAR(r[1].v[0], m, 1e-9);
      EXPECT_NEAR(r[2].v[0], v, 1e-9);
    }
  }
}

TEST(Movement, BigTransposes) {
  Rng rng(4, 1);
  const std::pair<Shape, Ints> cases[] = {
      {{300, 517}, {1, 0}}, {{5, 64, 33, 7}, {0, 2, 3, 1}}, {{40, 50, 60}, {2, 1, 0}}};
  const int before = num_threads();
  for (const auto& [shape, perm] : cases) {
    for (const DType dtype : {DType::f32, DType::u8, DType::s64}) {
      SampleInput x{{dtype, shape, {}}};
      for (std::int64_t i = 0; i < shape.numel(); ++i)
        x.values.push_back(static_cast<double>(i % 251));
      const Case c = make_case(kTranspose, {{x}, {{"perm", perm}}}, rng);
      const auto want = c.reference()[0];
      for (const int threads : {1, 3}) {
        set_num_threads(threads);
        const auto run = run_row(c, kTranspose.rows[0]);
        for (std::int64_t i = 0; i < want.numel(); ++i) {
          ASSERT_EQ(element(run.outputs[0], i), want.v[static_cast<std::size_t>(i)])
              << shape.text();
        }
      }
    }
  }
  set_num_threads(before);
}

}  // namespace
}  // namespace tessera
