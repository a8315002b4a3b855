// Codebooks of vectors: the fit, the plan, what runs, and the methods that make them.
#include "quant/fit/vectors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "core/parallel.h"
#include "quant/calibrate/fisher.h"
#include "quant/method/adaround.h"
#include "quant/method/compress.h"
#include "quant/method/fisher_compression.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "quant/pack/harden.h"
#include "tests/accuracy.h"
#include "tests/quant/fit/problems.h"
#include "tests/quant/qat.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::Data;
using test::Floats;
using test::make_importance;
using test::make_weights;
using test::reference;
using test::Scores;

double distance(const float* w, const float* h, const float* c, int d) {
  double sum = 0;
  for (int e = 0; e < d; ++e)
    sum += (h ? h[e] : 1.0) * std::pow(static_cast<double>(w[e]) - c[e], 2);
  return sum;
}

TEST(Vectors, EntriesAreMeansAndIndicesNearest) {
  std::mt19937 random(1);
  for (const auto& [k, d] : {std::pair{1, 2}, {3, 2}, {16, 5}, {40, 8}, {256, 16}}) {
    for (const bool weighted : {false, true}) {
      const int rows = 24, columns = d * 25, n = rows * columns;
      const Floats w = make_weights(n, Data::kNormal, random);
      const Floats h = weighted ? make_importance(n, random) : Floats();
      const GroupedFit fit = fit_vectors(CodebookSpec::vectors(k, d), w, rows, 10, h);
      ASSERT_EQ(fit.groups, 3);
      ASSERT_EQ(fit.k, k);
      ASSERT_EQ(fit.entries.size(), static_cast<std::size_t>(3 * k * d));
      ASSERT_EQ(fit.indices.size(), static_cast<std::size_t>(n / d));
      double total = 0;
      for (int i = 0; i < n / d; ++i) {
        const float* at = w.data() + i * d;
        const float* own_h = weighted ? h.data() + i * d : nullptr;
        const float* entries = fit.entries.data() + i / 250 * k * d;
        const double own = distance(at, own_h, entries + fit.indices[i] * d, d);
        total += own;
        for (int j = 0; j < k; ++j)
          ASSERT_LE(own, distance(at, own_h, entries + j * d, d) * (1 + 1e-5) + 1e-12);
      }
      EXPECT_NEAR(fit.error, total, 1e-9 * total);
      // A further fit from there changes little and never for the worse.
      const GroupedFit again = fit_vectors(CodebookSpec::vectors(k, d), w, rows, 10, h, &fit);
      EXPECT_LE(again.error, fit.error);
      EXPECT_LT(again.changed, 0.15) << k << "x" << d;
      EXPECT_EQ(fit_vectors(CodebookSpec::vectors(k, d), w, rows, 10, h, &again).changed, 0);
    }
  }
}

// The least error over all assignments of a few vectors: k-means ends near it, at once or when it
// starts there.
TEST(Vectors, AgainstEveryAssignment) {
  std::mt19937 random(2);
  int found = 0;
  for (int round = 0; round < 40; ++round) {
    const int n = 7, d = 2, k = 2;
    const Floats w = make_weights(n * d, Data::kUniform, random);
    double best = INFINITY;
    GroupedFit start{1, k, {}, {}, std::vector<std::uint8_t>(n), 0, 0};
    for (int z = 0; z < 1 << n; ++z) {
      Floats mean(k * d);
      int count[k] = {};
      for (int i = 0; i < n; ++i) ++count[z >> i & 1];
      for (int i = 0; i < n * d; ++i)
        mean[(z >> i / d & 1) * d + i % d] += w[i] / static_cast<float>(count[z >> i / d & 1]);
      double error = 0;
      for (int i = 0; i < n; ++i)
        error += distance(w.data() + i * d, nullptr, mean.data() + (z >> i & 1) * d, d);
      if (error < best) best = error, start.entries = mean;
    }
    const auto spec = CodebookSpec::vectors(k, d);
    EXPECT_NEAR(fit_vectors(spec, w, 1, 1, {}, &start).error, best, 1e-5);
    const double cold = fit_vectors(spec, w, 1, 1).error;
    EXPECT_GE(cold, best - 1e-5);
    found += cold < best + 1e-5;
  }
  EXPECT_GE(found, 20);
}

TEST(Vectors, FewDifferentVectorsAreExact) {
  Floats w;
  for (int i = 0; i < 60; ++i) {
    for (int e = 0; e < 3; ++e) w.push_back(static_cast<float>(i % 5 * (e + 1)));
  }
  const GroupedFit fit = fit_vectors(CodebookSpec::vectors(8, 3), w, 4, 4);
  EXPECT_EQ(fit.error, 0);
  EXPECT_EQ(std::set(fit.indices.begin(), fit.indices.end()).size(), 5u);
}

TEST(Vectors, SameBitsForAnyNumberOfThreads) {
  std::mt19937 random(3);
  const Floats w = make_weights(100 * 800, Data::kHeavyTails, random);
  const int before = num_threads();
  std::vector<GroupedFit> fits;
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    fits.push_back(fit_vectors(CodebookSpec::vectors(32, 8), w, 100, 100));
  }
  set_num_threads(before);
  EXPECT_EQ(fits[0].entries, fits[1].entries);
  EXPECT_EQ(fits[0].indices, fits[1].indices);
  EXPECT_EQ(fits[0].error, fits[1].error);
}

TEST(Vectors, SaysWhatCannotBe) {
  const auto spec = CodebookSpec::vectors(4, 3);
  Floats w(24, 1.0f);
  EXPECT_EQ(test::error_of([&] { fit_vectors(spec, w, 6, 6, {}, nullptr, {.name = "w"}); }),
            "w: rows of 4 weights are not whole vectors of 3");
  w[5] = NAN;
  EXPECT_EQ(test::error_of([&] { fit_vectors(spec, w, 4, 4, {}, nullptr, {.name = "w"}); }),
            "w: weight 5 is nan");
  EXPECT_THROW(CodebookSpec::vectors(4, 1), Error);
  EXPECT_THROW(CodebookSpec::vectors(257, 4), Error);
  EXPECT_THROW(CodebookSpec::parse("vector:16"), Error);
  EXPECT_THROW(CodebookSpec::parse("vector:16x4@row"), Error);
  EXPECT_EQ(CodebookSpec::parse("vector:16x4"), CodebookSpec::vectors(16, 4));
  EXPECT_EQ(CodebookSpec::vectors(200, 8).text(), "vector:200x8");
}

CompressionPlan planned(const nn::Trainer& t, const Policy& policy) {
  return plan_compression(t.parameters(), t.state(), policy);
}

TEST(Plan, VectorsWhereTheyFit) {
  nn::Trainer t = reference(10);  // [10, 20] and [4, 10]
  const auto plan = planned(t, {{CodebookSpec::vectors(16, 4), 0}});
  EXPECT_EQ(plan.compressed(), std::vector<std::string>{"fc1.weight"});
  EXPECT_NE(plan.text().find("vector:16x4, 4 bits for 4 weights"), std::string::npos);
  EXPECT_NE(plan.text().find("dense: rows of 10 weights are not whole vectors of 4"),
            std::string::npos);
  const auto refused = [&](const Policy& policy) {
    return test::error_of([&] { planned(t, policy); });
  };
  EXPECT_EQ(refused({{CodebookSpec::vectors(64, 4), 0}}),
            "nothing to compress: every parameter is skipped");
  EXPECT_EQ(refused({{}, {{"fc1.weight", TensorChoice{CodebookSpec::vectors(64, 4), 0}}}}),
            "'fc1.weight': 64 entries for 50 vectors");
  EXPECT_EQ(refused({{CodebookSpec::vectors(8, 4), 0, 0.1}}),
            "'fc1.weight': vector:8x4 takes no sparse correction");
  EXPECT_EQ(refused({{}, {{"fc2.weight", TensorChoice{CodebookSpec::vectors(4, 4), 0}}}}),
            "'fc2.weight': rows of 10 weights are not whole vectors of 4");
  Policy shared{{CodebookSpec::vectors(8, 2), 0}};
  shared.shared = {"fc.*weight"};
  EXPECT_NE(refused(shared).find("has entries of several weights"), std::string::npos);
  const auto method_error = [&](const auto& method) {
    return test::error_of([&] { method.require(plan); });
  };
  EXPECT_EQ(method_error(Mocq(MocqOptions{})),
            "mocq does not make codebooks of vector:16x4, which 'fc1.weight' is to have");
  for (const char* kind : {"ste", "lsq", "ewgs"}) {
    QatOptions options;
    options.kind = kind;
    EXPECT_NE(method_error(qat_of(options)).find("does not make"), std::string::npos);
  }
  EXPECT_NE(method_error(adaround(AdaRoundOptions{})).find("entries of 4 weights"),
            std::string::npos);
}

// Every method that makes them: what runs packed is what the method says, and half a bit a weight
// costs less after training than before.
TEST(VectorMethods, TrainStoreAndRun) {
  nn::Trainer probe = reference(20);
  const Scores data;
  nn::Evaluator evaluate(nn::inference_graph(probe), probe.task());
  const auto plan = planned(probe, {{CodebookSpec::vectors(4, 4), 0}});
  std::map<std::string, double> accuracy;
  QatOptions soft;
  soft.kind = "dkm";
  soft.schedule = {.epochs = 24, .lr = 0.05};
  const LcOptions alternating{
      .alternation = {.steps = 14, .epochs = 3, .first_epochs = 6, .lr = 0.05},
      .mu = 1e-2,
      .mu_growth = 1.5};
  AnyMethod methods[] = {direct_compression(), fisher_compression(64),
                         std::make_unique<LearningCompression>(alternating),
                         std::make_unique<Qat>(qat_of(soft))};
  for (AnyMethod& method : methods) {
    nn::Trainer t = reference(20);
    const auto result = compress(t, data, plan, method);
    State decoded = decoded_state(t.state(), result.codebooks);
    const auto dense = evaluate(decoded, data);
    accuracy[method.name()] = tessera::testing::accuracy(dense);
    Model model = harden(t, result.codebooks);
    nn::Evaluator packed(clone(model.graph), probe.task());
    EXPECT_NEAR(dense.loss(), packed(model.state, data).loss(), 1e-5) << method.name();
    for (const auto& tensor : size_report(model).tensors) {
      if (!tensor.coded()) continue;
      EXPECT_EQ(tensor.index_bytes, tensor.weights / 16) << tensor.name;  // 2 bits for 4 weights
      EXPECT_EQ(tensor.codebook_bytes, 4 * 4 * 4) << tensor.name;
    }
    EXPECT_LE(result.c_steps.back().changed, 1) << method.name();
  }
  EXPECT_GT(accuracy["lc"], accuracy["dc"] + 0.03) << accuracy["dc"];
  EXPECT_GT(accuracy["dkm"], accuracy["dc"] + 0.03) << accuracy["dc"];
}

}  // namespace
}  // namespace tessera::quant
