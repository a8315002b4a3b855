// Codebooks with sparse corrections and codebooks that several tensors share: the fits against
// exhaustive search, and the way through plan, methods, hardening, files and reports.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/files/model.h"
#include "nn/schedule.h"
#include "ops/load.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "tests/error_of.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using Floats = std::vector<float>;

Floats heavy(std::int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::student_t_distribution<float> draw(3);
  Floats out(static_cast<std::size_t>(n));
  for (float& w : out) w = draw(random);
  return out;
}

double distance(const Floats& w, const CodebookTensor& c) {
  Floats decoded(w.size());
  c.decode(decoded);
  double error = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    error += std::pow(static_cast<double>(w[i]) - decoded[i], 2);
  return error;
}

// The least error of a codebook on all but `kept` weights, over every choice of those.
double exhaustive(const CodebookSpec& spec, const Floats& w, std::int64_t kept) {
  std::vector<bool> out(w.size());
  std::fill(out.begin(), out.begin() + kept, true);
  double best = std::numeric_limits<double>::infinity();
  do {
    Floats rest;
    for (std::size_t i = 0; i < w.size(); ++i) {
      if (!out[i]) rest.push_back(w[i]);
    }
    best = std::min(best, fit(spec, rest).error);
  } while (std::prev_permutation(out.begin(), out.end()));
  return best;
}

TEST(Sparse, KeepsTheLargestResidualsExactly) {
  const Shape shape{30, 50};
  const Floats w = heavy(1500, 3);
  for (const char* text : {"adaptive:2", "adaptive:16", "binary-scaled", "ternary-scaled",
                           "pow2-scaled:2", "multibit:2", "fixed:-1,0.5"}) {
    SCOPED_TRACE(text);
    const CodebookSpec spec = CodebookSpec::parse(text);
    const CodebookTensor plain = fit_tensor("w", spec, shape, 0, w);
    const CodebookTensor c = fit_tensor("w", spec, shape, 0, w, {}, nullptr, 0.01);
    ASSERT_EQ(c.sparse.positions.size(), 15u);
    EXPECT_TRUE(std::is_sorted(c.sparse.positions.begin(), c.sparse.positions.end()));
    EXPECT_NEAR(c.error, distance(w, c), 1e-5 * c.error);
    EXPECT_LT(c.error, plain.error);
    Floats decoded(w.size());
    c.decode(decoded);
    double least_kept = std::numeric_limits<double>::infinity(), most_left = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double miss = std::abs(w[i] - c.entries[c.indices[i]]);
      if (std::binary_search(c.sparse.positions.begin(), c.sparse.positions.end(),
                             static_cast<std::int64_t>(i))) {
        EXPECT_NEAR(decoded[i], w[i], 1e-6 * std::abs(w[i]));
        least_kept = std::min(least_kept, miss);
      } else {
        most_left = std::max(most_left, miss);
      }
    }
    EXPECT_GE(least_kept, most_left);
  }
}

TEST(Sparse, AlternationFindsTheBestChoiceOfSmallCases) {
  int exact = 0;
  constexpr int kRuns = 40;
  for (unsigned seed = 0; seed < kRuns; ++seed) {
    const Floats w = heavy(11, seed);
    const CodebookSpec spec = CodebookSpec::adaptive(2);
    const double error = fit_tensor("w", spec, {11, 1}, 0, w, {}, nullptr, 0.2).error;
    const double best = exhaustive(spec, w, 3);  // ceil(0.2 * 11)
    EXPECT_GE(error, best - 1e-6 * (1 + best));
    exact += error <= best + 1e-6 * (1 + best);
  }
  EXPECT_GE(exact, kRuns / 2);  // turns find a local minimum
}

TEST(Sparse, AWarmStartIsNoWorseThanItsPlaces) {
  const Shape shape{40, 25};
  const CodebookSpec spec = CodebookSpec::adaptive(4);
  Floats w = heavy(1000, 8);
  const CodebookTensor first = fit_tensor("w", spec, shape, 0, w, {}, nullptr, 0.02);
  const CodebookTensor again = fit_tensor("w", spec, shape, 0, w, {}, &first, 0.02);
  EXPECT_LE(again.error, first.error * (1 + 1e-12));
  EXPECT_EQ(again.changed, 0);
  for (float& v : w) v *= 1.01f;
  const CodebookTensor moved = fit_tensor("w", spec, shape, 0, w, {}, &again, 0.02);
  EXPECT_LE(moved.error, 1.0202 * again.error);
}

TEST(Sparse, RowGroupsShortTensorsAndTies) {
  const Floats w = heavy(7 * 9, 4);
  const CodebookTensor c =
      fit_tensor("w", CodebookSpec::adaptive(3), {7, 9}, 2, w, {}, nullptr, 0.1);
  EXPECT_EQ(c.sparse.positions.size(), 7u);
  EXPECT_NEAR(c.error, distance(w, c), 1e-5 * (1 + c.error));
  // A whole group may be corrected; ties take the first places.
  const Floats equal = {1, 1, 1, 1, -8, -9, -8, -9};
  const CodebookTensor half =
      fit_tensor("w", CodebookSpec::fixed({1}), {2, 4}, 1, equal, {}, nullptr, 0.5);
  EXPECT_EQ(half.sparse.positions, (std::vector<std::int64_t>{4, 5, 6, 7}));
  EXPECT_EQ(half.error, 0);
  const CodebookTensor tie =
      fit_tensor("w", CodebookSpec::fixed({1}), {2, 4}, 0, Floats(8, 3.0f), {}, nullptr, 0.25);
  EXPECT_EQ(tie.sparse.positions, (std::vector<std::int64_t>{0, 1}));
  EXPECT_THROW(fit_tensor("w", CodebookSpec::binary(), {1, 1}, 0, Floats{1}, {}, nullptr, 1.0),
               Error);
}

TEST(Shared, IsTheFitOfAllWeightsTogether) {
  const Floats a = heavy(600, 1), b = heavy(90, 2);
  Floats both = a;
  both.insert(both.end(), b.begin(), b.end());
  for (const char* text : {"adaptive:4", "ternary-scaled", "multibit:3"}) {
    SCOPED_TRACE(text);
    const CodebookSpec spec = CodebookSpec::parse(text);
    const CodebookFit joint = fit(spec, both);
    const std::vector<SharedPart> parts = {{"a", {20, 30}, a}, {"b", {9, 10}, b}};
    const auto fitted = fit_shared(spec, parts);
    ASSERT_EQ(fitted.size(), 2u);
    EXPECT_EQ(fitted[0].entries, joint.entries);
    EXPECT_EQ(fitted[1].entries, joint.entries);
    EXPECT_NEAR(fitted[0].error + fitted[1].error, joint.error, 1e-9 * joint.error);
    EXPECT_NEAR(fitted[1].error, distance(b, fitted[1]), 1e-6 * joint.error);
    EXPECT_EQ(fitted[1].entries_name("b"), "a.entries");
    EXPECT_EQ(fitted[1].shape, (Shape{9, 10}));
  }
  const auto corrected =
      fit_shared(CodebookSpec::adaptive(2),
                 std::vector<SharedPart>{{"a", {20, 30}, a}, {"b", {9, 10}, b}}, 0.01);
  EXPECT_EQ(corrected[0].sparse.positions.size(), 6u);
  EXPECT_EQ(corrected[1].sparse.positions.size(), 1u);
  EXPECT_NEAR(corrected[1].error, distance(b, corrected[1]), 1e-5);
}

Policy policy(int k, double sparse, std::vector<std::string> shared) {
  Policy out{{CodebookSpec::adaptive(k), 0, sparse}};
  out.shared = std::move(shared);
  return out;
}

using tessera::testing::error_of;

TEST(Shared, ThePlanSaysSoOrWhyNot) {
  nn::Trainer t = test::reference(10);
  const auto plan = [&](const Policy& p) { return plan_compression(t.parameters(), t.state(), p); };
  const auto good = plan(policy(2, 0.01, {"fc.*"}));
  EXPECT_EQ(good.tensors[0].shares, "fc1.weight");
  EXPECT_EQ(good.tensors[2].shares, "fc1.weight");
  EXPECT_EQ(good.tensors[1].shares, "");  // a bias
  EXPECT_NE(good.text().find("one codebook for 2 tensors, 'fc1.weight', 2 weights corrected"),
            std::string::npos)
      << good.text();
  // 240 weights in all: neither has 220 alone.
  EXPECT_EQ(error_of([&] { plan(policy(220, 0, {"fc.*"})); }), "no error");
  EXPECT_EQ(error_of([&] { plan(policy(220, 0, {})); }),
            "nothing to compress: every parameter is skipped");
  EXPECT_NE(error_of([&] { plan(policy(250, 0, {"fc.*"})); }).find("250 entries for 240 weights"),
            std::string::npos);
  EXPECT_EQ(error_of([&] { plan(policy(2, 0, {"fc1.*"})); }),
            "shared codebook 'fc1.*' matches 1 compressed tensors; it needs two or more");
  EXPECT_NE(error_of([&] { plan(policy(2, 0, {"("})); }).find("not a regular expression"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              plan(policy(2, 0, {"fc.*", ".*weight"}));
            }).find("already shares the codebook of 'fc1.weight'"),
            std::string::npos);
  Policy mixed = policy(2, 0, {"fc.*"});
  mixed.rules.push_back({"fc2.weight", TensorChoice{CodebookSpec::adaptive(4)}});
  EXPECT_EQ(error_of([&] { plan(mixed); }),
            "shared codebook 'fc.*': 'fc1.weight' is adaptive:2, 'fc2.weight' adaptive:4");
  mixed.rules[0].choice = TensorChoice{CodebookSpec::adaptive(2), 0, 0.1};
  EXPECT_NE(error_of([&] { plan(mixed); }).find("corrected by a share of 0"), std::string::npos);
  Policy groups = policy(2, 0, {"fc.*"});
  groups.weights.group_rows = 2;
  EXPECT_NE(error_of([&] { plan(groups); }).find("one codebook per 2 rows"), std::string::npos);
  EXPECT_NE(error_of([&] { plan(policy(2, 1.5, {})); }).find("sparse share of 1.5"),
            std::string::npos);
}

// Every method ends with codebooks that harden to what it evaluated, in a file that comes back.
class Additive : public ::testing::TestWithParam<std::tuple<const char*, double, bool>> {};

TEST_P(Additive, FromMethodToFileAndBack) {
  const auto [name, sparse, shared] = GetParam();
  nn::Trainer t = test::reference(10);
  const test::Scores data;
  const auto plan = plan_compression(
      t.parameters(), t.state(),
      policy(2, sparse, shared ? std::vector<std::string>{"fc.*"} : std::vector<std::string>{}));
  const Alternation steps{.steps = 6, .epochs = 1, .first_epochs = 2, .lr = 0.05, .lr_decay = 0.97};
  AnyMethod method = direct_compression();
  if (std::string_view(name) == "idc") method = std::make_unique<IteratedDirectCompression>(steps);
  if (std::string_view(name) == "lc")
    method = std::make_unique<LearningCompression>(
        LcOptions{.alternation = steps, .mu = 1e-2, .mu_growth = 2});
  const auto result = compress(t, data, plan, method);
  ASSERT_TRUE(result.finished);
  if (std::string_view(name) == "lc") {
    EXPECT_LT(result.c_steps.back().distance, 0.7 * result.c_steps.front().distance);
  }

  Model model = harden(t, result.codebooks);
  const auto path = std::filesystem::path(::testing::TempDir()) /
                    cat("tessera_additive_", name, sparse, shared, ".json");
  const SavedModel saved = save(model, path);
  Model back = load(path);
  nn::Evaluator dense(nn::inference_graph(t), t.task()),
      packed(clone(back.graph), t.task(), {.packed_only = true});
  State decoded = decoded_state(t.state(), result.codebooks);
  EXPECT_NEAR(dense(decoded, data).loss(), packed(back.state, data).loss(), 1e-6);

  // fc1: 200 weights at 1 bit; fc2: 40; two entries of 4 bytes for each codebook; 14 biases.
  const SizeReport report = size_report(back);
  EXPECT_EQ(report.weights(), 240);
  std::int64_t bytes = 25 + 5 + (shared ? 8 : 16) + 14 * 4, values = 0, extra = 0;
  for (const auto& tensor : report.tensors) {
    values += tensor.sparse_values;
    extra += tensor.sparse_bytes;
    if (tensor.coded()) EXPECT_EQ(tensor.encoding, sparse > 0 ? "cb1+sparse" : "cb1");
  }
  EXPECT_EQ(values, sparse > 0 ? 10 + 2 : 0);
  if (sparse > 0) {
    EXPECT_EQ(extra, 12 * 4 + back.state.get("fc1.weight.sparse.positions").bytes() +
                         back.state.get("fc2.weight.sparse.positions").bytes());
  }
  EXPECT_EQ(report.bytes(), bytes + extra);
  EXPECT_EQ(back.state.has("fc2.weight.entries"), !shared);
  for (const auto& file : {saved.json, saved.weights}) std::filesystem::remove(file);
}

INSTANTIATE_TEST_SUITE_P(Methods, Additive,
                         ::testing::Combine(::testing::Values("dc", "idc", "lc"),
                                            ::testing::Values(0.0, 0.05), ::testing::Bool()));

TEST(Additive, AResumedRunFindsItsCodebooks) {
  nn::Trainer t = test::reference(10);
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2, 0.05, {"fc.*"}));
  const PostTraining dc = direct_compression();
  const auto fitted = compress(t, test::Scores(), plan, dc).codebooks;
  store_codebooks(t.state(), fitted);
  const auto loaded = load_codebooks(t.state(), plan);
  for (const auto& [name, c] : fitted) {
    EXPECT_EQ(loaded.at(name).sparse.positions, c.sparse.positions);
    EXPECT_EQ(loaded.at(name).sparse.values, c.sparse.values);
    EXPECT_EQ(loaded.at(name).shares, "fc1.weight");
  }
}

TEST(Harden, RefusesSharersWithOtherEntries) {
  nn::Trainer t = test::reference(10);
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2, 0, {"fc.*"}));
  const PostTraining dc = direct_compression();
  auto codebooks = compress(t, test::Scores(), plan, dc).codebooks;
  codebooks.at("fc2.weight").entries[0] += 1;
  EXPECT_NE(error_of([&] { harden(t, codebooks); }).find("shares the entries of 'fc1.weight'"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::quant
