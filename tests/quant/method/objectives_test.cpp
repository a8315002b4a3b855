// Every objective's analytic gradient against finite differences of its value in the f64
// interpreter, at random weights; golden values from the authors' formulas.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/autodiff.h"
#include "core/interpret.h"
#include "core/rng.h"
#include "ops/build.h"
#include "ops/op_list.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "quant/method/mocq_authors.h"
#include "quant/method/qar.h"
#include "quant/method/range.h"

namespace tessera::quant {
namespace {

constexpr std::int64_t kRows = 6, kCols = 7;
constexpr const char* kWeight = "w";

CompressionPlan plan_of(int k, std::int64_t group_rows = 0) {
  CompressionPlan plan;
  plan.tensors.push_back(
      {kWeight, {kRows, kCols}, TensorChoice{CodebookSpec::adaptive(k), group_rows}, ""});
  return plan;
}

RefTensor ref(const Shape& shape, std::vector<double> v) {
  return {{DType::f32, shape, {}}, std::move(v)};
}

struct Setting {
  std::string name;
  std::shared_ptr<const nn::Objective> objective;
  RefMap leaves;  // besides w
  double low = -1, high = 1;
  bool own = true;  // the gradients of own parameters are those of the value
};

std::vector<double> levels(std::int64_t groups, int k) {
  std::vector<double> out;
  for (std::int64_t g = 0; g < groups; ++g) {
    for (int j = 0; j < k; ++j)
      out.push_back(-0.8 + 1.6 * (j + 0.5) / k + 0.03 * static_cast<double>(g) + 0.02 * (j % 3));
  }
  return out;
}

std::vector<Setting> settings() {
  using Family = ClusterRegularizer::Family;
  std::vector<Setting> out;
  out.push_back({"lc",
                 std::make_shared<QuadraticPenalty>(plan_of(2)),
                 {{"w.lc_target", ref({kRows, kCols}, std::vector<double>(kRows * kCols, 0.25))}}});
  out.push_back({"r2 linf", std::make_shared<RangeRestriction>(RangeRestriction::Kind::linf), {}});
  out.push_back({"r2 margin",
                 std::make_shared<RangeRestriction>(RangeRestriction::Kind::margin),
                 {{"w.r2_margin", ref({}, {0.55})}}});
  out.push_back({"r2 softminmax",
                 std::make_shared<RangeRestriction>(RangeRestriction::Kind::softminmax),
                 {{"w.r2_log_alpha", ref({}, {std::log(3.0)})}}});
  for (const std::int64_t group_rows : {0, 2}) {
    const std::int64_t groups = group_rows ? kRows / group_rows : 1;
    for (const int k : {2, 4}) {
      const RefTensor entries = ref({groups, k}, levels(groups, k));
      out.push_back(
          {cat("mocq ", k, " g", group_rows),
           std::make_shared<PeriodicError>(plan_of(k, group_rows), nn::Coefficient{}, 1e-3),
           {{"w.representatives", entries}},
           -1,
           1,
           false});
      for (const Family family : {Family::l1, Family::l2, Family::bins, Family::soft}) {
        if (family == Family::soft && group_rows) continue;
        out.push_back({cat("qar ", static_cast<int>(family), " ", k, " g", group_rows),
                       std::make_shared<ClusterRegularizer>(family, plan_of(k, group_rows),
                                                            nn::Coefficient{}),
                       {{"w.representatives", entries}, {"w.cell_width", ref({}, {0.2})}}});
      }
    }
  }
  for (const int bits : {1, 2, 3, 4}) {
    // Inside the clamp, whose gradient is not that of the value.
    const double inside = 0.1 + AuthorsPeriodicError::step(bits) / 2 - 0.011;
    out.push_back({cat("mocq authors ", bits),
                   std::make_shared<AuthorsPeriodicError>(std::vector<std::string>{kWeight}, bits,
                                                          nn::Coefficient{}),
                   {},
                   -inside,
                   inside});
  }
  return out;
}

// The term with all its gradients, on a graph of its own.
struct Built {
  Graph graph{ops::standard_ops()};
  Value value, size;
  std::vector<std::pair<std::string, Value>> gradients;  // by leaf

  explicit Built(const nn::Objective& objective) {
    nn::Scope scope(graph);
    const Value w = graph.param(kWeight, {DType::f32, {kRows, kCols}, {}});
    auto term = objective.term(scope, kWeight, w);
    TESSERA_ASSERT(term.has_value());
    std::vector<nn::OwnGradient> own;
    value = term->value;
    size = term->size;
    std::vector<Value> wanted{w};
    for (const auto& item : term->own) wanted.push_back(item.first);
    const auto automatic = grad(value, wanted);
    gradients.emplace_back(kWeight, term->gradient ? term->gradient : automatic[0]);
    for (std::size_t i = 0; i < term->own.size(); ++i) {
      const auto& [parameter, gradient] = term->own[i];
      gradients.emplace_back(parameter.node->name(), gradient ? gradient : automatic[i + 1]);
    }
  }
};

TEST(Objectives, GradientsAgreeWithFiniteDifferences) {
  for (const Setting& setting : settings()) {
    SCOPED_TRACE(setting.name);
    Built built(*setting.objective);
    RefMap leaves = setting.leaves;
    Rng rng(5, stable_id(setting.name));
    RefTensor w = ref({kRows, kCols}, {});
    for (std::int64_t i = 0; i < kRows * kCols; ++i)
      w.v.push_back(rng.uniform(static_cast<float>(setting.low), static_cast<float>(setting.high)));
    leaves[kWeight] = w;
    const auto value_at = [&](const RefMap& at) {
      return interpret(built.graph, at, {built.value})[0].v[0];
    };
    for (const auto& [leaf, gradient] : built.gradients) {
      if (!setting.own && leaf != kWeight) continue;
      const std::vector<double> got = interpret(built.graph, leaves, {gradient})[0].v;
      int compared = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        const auto difference = [&](double step) {
          RefMap up = leaves, down = leaves;
          up[leaf].v[i] += step;
          down[leaf].v[i] -= step;
          return (value_at(up) - value_at(down)) / (2 * step);
        };
        const double fine = difference(1e-6), coarse = difference(2e-6);
        // A kink or a pole within the step: neither side is the derivative.
        if (std::fabs(fine - coarse) > 1e-4 * (1 + std::fabs(fine))) continue;
        EXPECT_NEAR(got[i], fine, 2e-4 * (1 + std::fabs(fine))) << leaf << " " << i;
        ++compared;
      }
      EXPECT_GE(compared, static_cast<int>(got.size() * 8 / 10)) << leaf;
    }
  }
}

TEST(Mocq, AnEntryHearsTheOppositeOfItsWeights) {
  for (const std::int64_t group_rows : {0, 2}) {
    const std::int64_t groups = group_rows ? kRows / group_rows : 1;
    constexpr int k = 4;
    const std::vector<double> entries = levels(groups, k);
    Built built(PeriodicError(plan_of(k, group_rows), nn::Coefficient{}));
    RefTensor w = ref({kRows, kCols}, {});
    Rng rng(9, static_cast<std::uint64_t>(group_rows));
    for (std::int64_t i = 0; i < kRows * kCols; ++i) w.v.push_back(rng.uniform(-1, 1));
    const auto got =
        interpret(built.graph, {{kWeight, w}, {"w.representatives", ref({groups, k}, entries)}},
                  {built.gradients[0].second, built.gradients[1].second});
    std::vector<double> want(entries.size(), 0.0);
    for (std::size_t i = 0; i < w.v.size(); ++i) {
      const std::size_t row = i / kCols;
      const std::size_t first = group_rows ? row / static_cast<std::size_t>(group_rows) * k : 0;
      std::size_t nearest = first;
      for (std::size_t j = first; j < first + k; ++j) {
        if (std::fabs(w.v[i] - entries[j]) < std::fabs(w.v[i] - entries[nearest])) nearest = j;
      }
      want[nearest] -= got[0].v[i];
    }
    for (std::size_t j = 0; j < want.size(); ++j) {
      EXPECT_NEAR(got[1].v[j], want[j], 1e-5 * (1 + std::fabs(want[j]))) << j;
      EXPECT_GT(std::fabs(want[j]), 1e-3) << "a cell without weights shows nothing";
    }
  }
}

// One weight beside a pole has most of the gradient's norm, but not of what lambda is made from.
TEST(Mocq, AWeightAtAPoleDoesNotSetTheCoefficient) {
  const double guard = 1e-3;
  Built built(PeriodicError(plan_of(2), nn::Coefficient{}, guard));
  ASSERT_TRUE(built.size);
  RefTensor w = ref({kRows, kCols}, std::vector<double>(kRows * kCols, 0.25));
  const auto norms = [&] {
    const auto got =
        interpret(built.graph, {{kWeight, w}, {"w.representatives", ref({1, 2}, {-0.5, 0.5})}},
                  {built.size, built.gradients[0].second});
    double sum = 0;
    for (const double g : got[1].v) sum += g * g;
    return std::pair(got[0].v[0], std::sqrt(sum));
  };
  const auto before = norms();
  EXPECT_NEAR(before.first, 0.25 * std::sqrt(kRows * kCols), 1e-6);
  w.v[3] = 1e-5;
  const auto after = norms();
  EXPECT_GT(after.second, 10 * before.second);
  EXPECT_LT(after.first, 1.1 * before.first);
}

TEST(Mocq, OnAUniformGridTheErrorIsTheAuthors) {
  // s = 0.2 / 3; w in the cell of -s, 0 or s.
  const double s = AuthorsPeriodicError::step(2);
  const std::vector<double> grid = {-2 * s, -s, 0, s};
  Built ours(PeriodicError(plan_of(4), nn::Coefficient{}, 1e-9));
  Built theirs(AuthorsPeriodicError({kWeight}, 2, nn::Coefficient{}));
  RefTensor w = ref({kRows, kCols}, {});
  for (int i = 0; i < kRows * kCols; ++i) w.v.push_back(-0.9 * s + 1.8 * s * i / (kRows * kCols));
  const RefMap leaves = {{kWeight, w}, {"w.representatives", ref({1, 4}, grid)}};
  const auto a = interpret(ours.graph, leaves, {ours.value, ours.gradients[0].second});
  const auto b = interpret(theirs.graph, leaves, {theirs.value, theirs.gradients[0].second});
  const double unit = s * s / (std::numbers::pi * std::numbers::pi);
  EXPECT_NEAR(a[0].v[0], unit * b[0].v[0], 1e-6 * unit * b[0].v[0]);
  for (std::size_t i = 0; i < w.v.size(); ++i)
    EXPECT_NEAR(a[1].v[i], unit * b[1].v[i], 1e-5 * unit * (1 + std::fabs(b[1].v[i]))) << i;
}

TEST(Mocq, TheAuthorsFormulasByHand) {
  // -ln|cos(pi x / s)| and (pi / s) tan(pi x / s), x clamped to +-(0.1 + s/2 - 0.01).
  for (const int bits : {1, 2, 3, 4, 8}) {
    const double s = 0.2 / ((1 << bits) - 1);
    EXPECT_DOUBLE_EQ(AuthorsPeriodicError::step(bits), s);
    Built built(AuthorsPeriodicError({kWeight}, bits, nn::Coefficient{}));
    RefTensor w = ref({kRows, kCols}, {});
    Rng rng(2, static_cast<std::uint64_t>(bits));
    for (int i = 0; i < kRows * kCols; ++i) w.v.push_back(rng.uniform(-0.3f, 0.3f));
    const auto got =
        interpret(built.graph, {{kWeight, w}}, {built.value, built.gradients[0].second});
    double sum = 0;
    for (std::size_t i = 0; i < w.v.size(); ++i) {
      const double bound = 0.1 + s / 2 - 0.01, x = std::clamp(w.v[i], -bound, bound);
      const double angle = std::numbers::pi * x / s;
      sum += -std::log(std::fabs(std::cos(angle)));
      const double want = std::numbers::pi / s * std::tan(angle);
      EXPECT_NEAR(got[1].v[i], want, 1e-6 * (1 + std::fabs(want)));
    }
    EXPECT_NEAR(got[0].v[0], sum, 1e-6 * sum);
  }
  EXPECT_EQ(AuthorsPeriodicError::entries(1), (std::vector<float>{-0.2f, 0}));
  EXPECT_EQ(AuthorsPeriodicError::entries(2).size(), 4u);
}

TEST(Mocq, TheAuthorsScheduleInStages) {
  const auto at = [](int epoch) { return MocqAuthors::coefficient(epoch / 350.0); };
  EXPECT_EQ(at(49), 0);
  EXPECT_DOUBLE_EQ(at(50), 1e-4);
  EXPECT_DOUBLE_EQ(at(149), 1e-3);
  EXPECT_DOUBLE_EQ(at(250), 1);
  EXPECT_DOUBLE_EQ(at(299), 1);
  EXPECT_EQ(at(300), 0);
  EXPECT_EQ(MocqAuthors::constant(299 / 350.0), 0);
  EXPECT_DOUBLE_EQ(MocqAuthors::constant(300 / 350.0), 1e-3);
}

}  // namespace
}  // namespace tessera::quant
