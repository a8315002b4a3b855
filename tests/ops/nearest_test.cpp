// Nearest entries: ties, equal entries, sizes around the vectors, groups, gradients.
#include "ops/codebook/nearest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/autodiff.h"
#include "core/compile.h"
#include "ops/build.h"
#include "ops/codebook/nearest_kernels.h"
#include "ops/op_list.h"
#include "quant/fit/assign.h"
#include "tests/error_of.h"
#include "tests/ops/op_harness.h"

namespace tessera {
namespace {

using test::Case;
using test::make_case;
using test::run_row;
using test::runs_here;

Case make_nearest(const Shape& shape, std::vector<double> w, std::int64_t groups,
                  std::vector<double> entries, std::int64_t group_rows = 0) {
  Rng rng(1, 1);
  const std::int64_t k = static_cast<std::int64_t>(entries.size()) / groups;
  return make_case(kNearest,
                   {{{{DType::f32, shape, {}}, 0, 0, std::move(w)},
                     {f32({groups, k}), 0, 0, std::move(entries)}},
                    {{"group_rows", group_rows}}},
                   rng);
}

template <class Fn>
void each_row(const Case& c, Fn&& fn) {
  int rows = 0;
  for (const KernelRow& row : kNearest.rows) {
    if (!runs_here(row)) continue;
    SCOPED_TRACE(row.name);
    const auto run = run_row(c, row);
    ASSERT_EQ(run.refusal, "");
    fn(run.outputs);
    ++rows;
  }
  EXPECT_GE(rows, 2);
}

std::vector<double> list(const Tensor& t) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < t.numel(); ++i) out.push_back(element(t, i));
  return out;
}
using Doubles = std::vector<double>;

TEST(Nearest, TiesGoAwayFromZeroAndUpAtZero) {
  const Case c =
      make_nearest({7}, {-0.75, -0.25, 0.25, 0.75, 5, -5, -0.0}, 1, {-1, -0.5, 0, 0.5, 1});
  each_row(c, [](const std::vector<Tensor>& out) {
    EXPECT_EQ(list(out[0]), (Doubles{-1, -0.5, 0.5, 1, 1, -1, 0}));
    EXPECT_EQ(list(out[1]), (Doubles{-0.5, 0, 0, 0.5, 1, -1, 0.5}));
    EXPECT_EQ(list(out[2]), (Doubles{0, 1, 3, 4, 4, 0, 2}));
  });
  const Case sign = make_nearest({3}, {0, -0.0, -1e-45}, 1, {-1, 1});
  each_row(sign, [](const std::vector<Tensor>& out) {
    EXPECT_EQ(list(out[0]), (Doubles{1, 1, -1}));
    EXPECT_EQ(list(out[1]), (Doubles{-1, -1, 1}));
  });
}

TEST(Nearest, EqualEntriesAreOnePlace) {
  // On an entry the neighbour is the upper one; between equal entries there is nothing.
  const Case c =
      make_nearest({9}, {-3, -2, -1.9, -1.6, 1, 2, 0.9, 3, -1}, 1, {-2, -2, -2, -1, 1, 1, 2, 2});
  each_row(c, [](const std::vector<Tensor>& out) {
    EXPECT_EQ(list(out[0]), (Doubles{-2, -2, -2, -2, 1, 2, 1, 2, -1}));
    EXPECT_EQ(list(out[1]), (Doubles{-2, -1, -1, -1, 2, 2, -1, 2, 1}));
  });
  each_row(make_nearest({2, 2}, {0.5, 2, 3, 4}, 1, {3, 3, 3}), [](const std::vector<Tensor>& out) {
    EXPECT_EQ(list(out[0]), (Doubles{3, 3, 3, 3}));
    EXPECT_EQ(list(out[1]), (Doubles{3, 3, 3, 3}));
  });
  each_row(make_nearest({3}, {-7, 3, 9}, 1, {3}), [](const std::vector<Tensor>& out) {
    EXPECT_EQ(list(out[0]), (Doubles{3, 3, 3}));
    EXPECT_EQ(list(out[1]), (Doubles{3, 3, 3}));
    EXPECT_EQ(list(out[2]), (Doubles{0, 0, 0}));
  });
}

// Every codebook size around the powers of two, every tail, weights on entries and midpoints.
TEST(Nearest, AgreesWithTheReferenceAndTheFitAtAllSizes) {
  Rng rng(3, 3);
  for (const std::int64_t k :
       {1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 129, 255, 256}) {
    SCOPED_TRACE(k);
    Doubles entries;
    for (std::int64_t j = 0; j < k; ++j) entries.push_back(std::round(rng.normal() * 64) / 64);
    std::sort(entries.begin(), entries.end());
    for (const std::int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 33, 200}) {
      Doubles w;
      for (std::int64_t i = 0; i < n; ++i) {
        const auto j = rng.below(static_cast<std::uint64_t>(k));
        const double next = entries[std::min<std::size_t>(j + 1, entries.size() - 1)];
        const double choices[] = {entries[j], 0.5 * (entries[j] + next), 1.5 * rng.normal()};
        w.push_back(choices[rng.below(3)]);
      }
      const Case c = make_nearest({n}, w, 1, entries);
      const auto want = c.reference();
      const std::vector<float> we(c.inputs[0].v.begin(), c.inputs[0].v.end());
      const std::vector<float> ee(c.inputs[1].v.begin(), c.inputs[1].v.end());
      std::vector<std::uint8_t> fitted(we.size());
      quant::assign_nearest(ee, we, {}, {}, fitted);
      each_row(c, [&](const std::vector<Tensor>& out) {
        for (int o = 0; o < 3; ++o) {
          EXPECT_EQ(list(out[static_cast<std::size_t>(o)]), want[static_cast<std::size_t>(o)].v)
              << "output " << o << " of " << n;
        }
        EXPECT_EQ(list(out[2]), Doubles(fitted.begin(), fitted.end()));
      });
    }
  }
}

TEST(Nearest, LastGroupMayBeShort) {
  const Case c = make_nearest({3, 2}, {1, 2, 3, 4, 5, 6}, 2, {0, 3, 4, 9}, 2);
  each_row(c, [](const std::vector<Tensor>& out) {
    EXPECT_EQ(list(out[0]), (Doubles{0, 3, 3, 3, 4, 4}));
    EXPECT_EQ(list(out[1]), (Doubles{3, 0, 3, 3, 9, 9}));
  });
}

TEST(Nearest, LeavesOutWhatIsNotAskedFor) {
  std::vector<const NearestKernels*> all = {&tessera_nearest_ref};
#if defined(__x86_64__)
  if (active_features().includes(kAvx2)) all.push_back(&tessera_nearest_avx2);
  if (active_features().includes(kAvx512)) all.push_back(&tessera_nearest_avx512);
#endif
  NearestTable table{};
  table.levels = 1;
  std::fill(std::begin(table.limits), std::end(table.limits), 0.0f);
  table.entries[0] = table.above[1] = -1, table.entries[1] = 1;
  const std::vector<float> w(37, 2.0f);
  for (const NearestKernels* kernels : all) {
    std::vector<float> entry(37), neighbour(37, 7.0f);
    kernels->run(table, w.data(), 37, {entry.data(), nullptr, nullptr});
    EXPECT_EQ(entry, std::vector<float>(37, 1.0f)) << kernels->name;
    std::vector<std::uint8_t> index(37, 9);
    kernels->run(table, w.data(), 37, {nullptr, nullptr, index.data()});
    EXPECT_EQ(index, std::vector<std::uint8_t>(37, 1)) << kernels->name;
  }
}

TEST(Nearest, TrainsEntriesAndNothingElse) {
  Graph graph(ops::standard_ops());
  const Value w = graph.input("w", f32({4, 1})), entries = graph.input("entries", f32({2, 2}));
  const auto [entry, neighbour, index] = ops::nearest(w, entries, 2);
  const Value weights = graph.input("weights", f32({4, 1}));
  const Value loss = ops::sum(entry * weights) + ops::sum(neighbour);
  const auto gradients = grad(loss, std::vector{w, entries});
  graph.set_output("dw", gradients[0]);
  graph.set_output("dentries", gradients[1]);
  graph.set_output("index", index);
  const Plan plan = compile(graph, State(), {});
  const auto f = [](const Shape& shape, std::vector<float> v) {
    Tensor t(DType::f32, shape);
    std::copy(v.begin(), v.end(), t.span<float>().begin());
    return t;
  };
  auto out = plan.run({{"w", f({4, 1}, {0.9f, 2.0f, -3.0f, 3.0f})},
                       {"entries", f({2, 2}, {-1, 1, 0, 2})},
                       {"weights", f({4, 1}, {1, 10, 100, 1000})}});
  EXPECT_EQ(list(out.at("dw")), (Doubles{0, 0, 0, 0}));
  EXPECT_EQ(list(out.at("dentries")), (Doubles{0, 11, 100, 1000}));
  EXPECT_EQ(list(out.at("index")), (Doubles{1, 1, 0, 1}));
}

using testing::error_of;

TEST(Nearest, EntriesMayComeInAnyOrder) {
  // Trained entries cross; indices say where an entry was given.
  each_row(make_nearest({2, 4}, {-2, 0.1, 0.9, 3, 0, 0, 5, -5}, 2, {1, -1, 0, 2, 2, -2}, 1),
           [](const std::vector<Tensor>& out) {
             EXPECT_EQ(list(out[0]), (Doubles{-1, 0, 1, 1, 2, 2, 2, -2}));
             EXPECT_EQ(list(out[1]), (Doubles{-1, 1, 0, 1, -2, -2, 2, -2}));
             EXPECT_EQ(list(out[2]), (Doubles{1, 2, 0, 0, 0, 0, 1, 2}));
           });
}

TEST(Nearest, RefusesWhatItCannotServe) {
  Graph graph(ops::standard_ops());
  const Value w = graph.input("w", f32({4, 3}));
  const auto build = [&](const Shape& entries, std::int64_t rows) {
    return error_of([&] {
      ops::nearest(w, graph.input(cat("e", entries.text(), rows), {DType::f32, entries, {}}), rows);
    });
  };
  EXPECT_EQ(build({2, 4}, 2), "no error");
  EXPECT_NE(build({2, 4}, 1).find("need entries f32[4,4]"), std::string::npos);
  EXPECT_NE(build({1, 257}, 0).find("1 to 256"), std::string::npos);
  EXPECT_NE(build({4}, 0), "no error");
  EXPECT_NE(build({1, 4}, -1).find("group_rows"), std::string::npos);
}

}  // namespace
}  // namespace tessera
