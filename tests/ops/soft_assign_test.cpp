// Soft assignment: extremes of tau, long sums, tails, gradients of single outputs.
#include "ops/codebook/soft_assign.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/autodiff.h"
#include "core/compile.h"
#include "core/parallel.h"
#include "ops/op_list.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using test::Case;
using test::make_case;
using test::run_row;
using test::runs_here;

Case make_soft(const Shape& shape, std::vector<double> w, const Shape& entry_shape,
               std::vector<double> entries, double tau) {
  Rng rng(1, 1);
  return make_case(kSoftAssign,
                   {{{{DType::f32, shape, {}}, -1, 1, std::move(w)},
                     {{DType::f32, entry_shape, {}}, -1, 1, std::move(entries)},
                     {f32({}), 0, 0, {tau}}},
                    {}},
                   rng);
}

template <class Fn>
void each_row(const Case& c, Fn&& fn) {
  int rows = 0;
  for (const KernelRow& row : c.node->op().rows) {
    if (!runs_here(row)) continue;
    SCOPED_TRACE(row.name);
    const auto run = run_row(c, row);
    ASSERT_EQ(run.refusal, "");
    fn(run.outputs);
    ++rows;
  }
  EXPECT_GE(rows, 2);
}

double at(const Tensor& t, std::int64_t i) {
  return element(t, i);
}

TEST(SoftAssign, KnownValues) {
  // Halfway between two entries both weigh 1/2; one entry weighs 1.
  each_row(make_soft({2}, {0, 0}, {2}, {-1, 1}, 0.5), [](const std::vector<Tensor>& out) {
    EXPECT_NEAR(at(out[0], 0), 0, 1e-7);
    EXPECT_NEAR(at(out[1], 0), 1, 1e-6);
    EXPECT_NEAR(at(out[3], 0), 2 * (std::log(2.0) - 2), 1e-6);
  });
  each_row(make_soft({3}, {4, 5, -6}, {1}, {2}, 1), [](const std::vector<Tensor>& out) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(at(out[0], i), 2);
    EXPECT_EQ(at(out[1], 0), 3);
    EXPECT_EQ(at(out[2], 0), 3);
    EXPECT_EQ(at(out[3], 0), -4 - 9 - 64);
  });
  // One vector [1, 2] on its entry, far from the other.
  each_row(make_soft({1, 2}, {1, 2}, {2, 2}, {1, 2, 30, 40}, 1),
           [](const std::vector<Tensor>& out) {
             EXPECT_EQ(at(out[0], 0), 1);
             EXPECT_EQ(at(out[0], 1), 2);
             EXPECT_EQ(at(out[1], 1), 0);
             EXPECT_EQ(at(out[3], 0), 0);
           });
}

// exp(-|w - c|^2 / tau) of every entry underflows, or all are 1: still a distribution.
TEST(SoftAssign, ExtremeTemperatures) {
  for (const double tau : {1e-8, 1e8}) {
    SCOPED_TRACE(tau);
    const Case c = make_soft({5}, {-3, -0.4, 0.4, 0.6, 9}, {3}, {-1, 0, 1}, tau);
    each_row(c, [&](const std::vector<Tensor>& out) {
      const double hard[] = {-1, 0, 0, 1, 1};
      for (int i = 0; i < 5; ++i) EXPECT_NEAR(at(out[0], i), tau < 1 ? hard[i] : 0, 1e-6) << i;
      EXPECT_NEAR(at(out[1], 0) + at(out[1], 1) + at(out[1], 2), 5, 1e-5);
      EXPECT_TRUE(std::isfinite(at(out[3], 0)));
    });
  }
}

// Longer than a run and than the least chunk, with a ragged end: the masses still add up, and any
// number of threads gives the same bits.
TEST(SoftAssign, LongSums) {
  const Case c = make_soft({300011}, {}, {16}, {}, 0.01);
  const int before = num_threads();
  const KernelRow& row = *std::find_if(kSoftAssign.rows.begin(), kSoftAssign.rows.end(), runs_here);
  std::vector<Tensor> first;
  const auto want = c.reference();
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    const auto out = run_row(c, row).outputs;
    double mass = 0;
    for (int k = 0; k < 16; ++k) {
      mass += at(out[1], k);
      EXPECT_NEAR(at(out[1], k), want[1].v[static_cast<std::size_t>(k)], 0.05);
      EXPECT_NEAR(at(out[2], k), want[2].v[static_cast<std::size_t>(k)], 0.05);
    }
    EXPECT_NEAR(mass, 300011, 0.5);
    if (first.empty()) first = out;
    for (std::size_t o = 0; o < out.size(); ++o) EXPECT_TRUE(equal_bits(first[o], out[o])) << o;
  }
  set_num_threads(before);
}

// A step of DKM's k-means, moment / mass, through the compiler: its gradient against differences.
TEST(SoftAssign, GradientThroughAPlan) {
  Graph graph(ops::standard_ops());
  const Value w = graph.input("w", f32({5, 4})), c = graph.input("c", f32({3, 2}));
  const auto soft = ops::soft_assign(w, c, 0.5);
  const Value centers = soft.moment / ops::reshape(soft.mass, {3, 1});
  const Value loss = ops::sum(centers * centers) + ops::sum(soft.mean * w);
  const auto gradients = grad(loss, std::vector{w, c});
  graph.set_output("loss", loss);
  graph.set_output("dw", gradients[0]);
  graph.set_output("dc", gradients[1]);
  const Plan plan = compile(graph, State(), {});
  Rng rng(4, 4);
  std::map<std::string, Tensor> in = {{"w", Tensor(DType::f32, {5, 4})},
                                      {"c", Tensor(DType::f32, {3, 2})}};
  for (auto& [name, t] : in)
    for (float& v : t.span<float>()) v = rng.normal();
  const auto out = plan.run(in);
  for (const auto& [name, result] : {std::pair{"w", "dw"}, {"c", "dc"}}) {
    Tensor& t = in.at(name);
    for (std::size_t i = 0; i < t.span<float>().size(); ++i) {
      const float kept = t.span<float>()[i];
      double value[2];
      for (const int side : {0, 1}) {
        t.span<float>()[i] = kept + (side ? 1e-2f : -1e-2f);
        value[side] = at(plan.run(in).at("loss"), 0);
      }
      t.span<float>()[i] = kept;
      EXPECT_NEAR(at(out.at(result), static_cast<std::int64_t>(i)), (value[1] - value[0]) / 2e-2,
                  5e-3)
          << name << " " << i;
    }
  }
}

TEST(SoftAssign, RefusesWhatItCannotServe) {
  for (const double tau : {0.0, -1.0, std::nan("")}) {
    const Case c = make_soft({2}, {0, 1}, {2}, {0, 1}, tau);
    for (const KernelRow& row : kSoftAssign.rows) {
      if (runs_here(row)) EXPECT_THROW(run_row(c, row), Error) << row.name;
    }
  }
  Graph graph(ops::standard_ops());
  const Value w = graph.input("w", f32({4, 3}));
  EXPECT_NO_THROW(ops::soft_assign(w, graph.input("a", f32({7, 3})), 1.0));
  EXPECT_THROW(ops::soft_assign(w, graph.input("b", f32({7, 2})), 1.0), Error);
  EXPECT_THROW(ops::soft_assign(w, graph.input("c", f32({257})), 1.0), Error);
  EXPECT_THROW(ops::soft_assign(w, graph.input("d", f32({7, 3, 1})), 1.0), Error);
  EXPECT_THROW(ops::soft_assign(w, graph.input("e", f32({7})), w), Error);
}

}  // namespace
}  // namespace tessera
