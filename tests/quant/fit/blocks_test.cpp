// Codebooks with a scale for every block of a row: NF4, uniform levels, binary rows.
#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "nn/evaluator.h"
#include "quant/calibrate/fisher.h"
#include "quant/method/adaround.h"
#include "quant/method/compress.h"
#include "quant/method/fisher_compression.h"
#include "quant/method/lc.h"
#include "tests/accuracy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::reference;
using test::Scores;

std::vector<float> normal(std::size_t n, std::uint64_t seed) {
  Rng rng(seed, 1);
  std::vector<float> out(n);
  for (float& v : out) v = rng.normal();
  return out;
}

double error_at(std::span<const float> w, std::span<const float> entries, double scale) {
  double sum = 0;
  for (const float v : w) {
    double best = 1e300;
    for (const float e : entries) best = std::min(best, std::pow(v - scale * e, 2));
    sum += best;
  }
  return sum;
}

TEST(CodebookSpec, ScalesPerBlockAsText) {
  for (const char* text : {"nf4", "nf4@64", "uniform:4@row", "uniform:2", "binary-scaled@16",
                           "ternary-scaled@row", "scaled:-3,0,1@5", "pow2-scaled:2@32"}) {
    EXPECT_EQ(CodebookSpec::parse(text).text(), text);
  }
  EXPECT_EQ(CodebookSpec::parse("nf4@64").scale_block(), 64);
  EXPECT_EQ(CodebookSpec::parse("nf4@row").scale_block(), CodebookFormat::kScalePerRow);
  EXPECT_EQ(CodebookSpec::nf4().size(), 16);
  EXPECT_EQ(CodebookSpec::uniform(3).entries(), (std::vector<float>{-4, -3, -2, -1, 0, 1, 2, 3}));
  EXPECT_EQ(test::error_of([] { CodebookSpec::parse("adaptive:4@64"); }),
            "codebook adaptive:4 has no scale; a scale per block needs nf4, uniform:B, "
            "scaled:A,B,... or a -scaled one");
  EXPECT_EQ(test::error_of([] { CodebookSpec::parse("nf4@0"); }),
            "codebook 'nf4@0': expected row or the weights of a block, got '0'");
  EXPECT_THROW(CodebookSpec::parse("nf4@x"), Error);
  EXPECT_THROW(CodebookSpec::uniform(1), Error);
}

TEST(FitBlocks, NoScaleOfAnyBlockIsBetter) {
  const std::int64_t rows = 3, columns = 37, block = 16;  // the last of a row has five
  const std::vector<float> w = normal(rows * columns, 5);
  for (const char* text : {"nf4@16", "uniform:3@16", "binary-scaled@16"}) {
    const CodebookSpec spec = CodebookSpec::parse(text);
    const GroupedFit fit = fit_blocks(spec, w, rows);
    ASSERT_EQ(fit.scales.size(), 9u) << text;
    double total = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t b = 0; b < 3; ++b) {
        const std::int64_t first = r * columns + b * block,
                           n = std::min(block, columns - b * block);
        const auto part = std::span(w).subspan(first, n);
        const double own = error_at(part, spec.entries(), fit.scales[r * 3 + b]);
        for (double scale = 0; scale < 3; scale += 0.001)
          ASSERT_LE(own, error_at(part, spec.entries(), scale) + 1e-4) << text << " " << scale;
        total += own;
      }
    }
    EXPECT_NEAR(fit.error, total, 1e-4 * total) << text;
  }
}

TEST(FitTensor, BlocksDecodeToWhatTheErrorSays) {
  std::vector<float> w = normal(4 * 2 * 3 * 3, 7);
  std::fill_n(w.begin(), 18, 0.0f);  // a block of nothing
  const auto spec = CodebookSpec::parse("uniform:4@row");
  for (const double sparse : {0.0, 0.05}) {
    const CodebookTensor c = fit_tensor("w", spec, {4, 2, 3, 3}, 0, w, {}, nullptr, sparse);
    EXPECT_EQ(c.scales.size(), 4u);
    EXPECT_EQ(c.scales[0], 0);
    std::vector<float> decoded(w.size());
    c.decode(decoded);
    double error = 0;
    for (std::size_t i = 0; i < w.size(); ++i) error += std::pow(w[i] - decoded[i], 2);
    EXPECT_NEAR(error, c.error, 1e-6);
    EXPECT_EQ(c.sparse.positions.size(), sparse > 0 ? 4u : 0u);
    const CodebookTensor again = fit_tensor("w", spec, {4, 2, 3, 3}, 0, w, {}, &c, sparse);
    EXPECT_EQ(again.changed, 0);
  }
  EXPECT_THROW(fit_tensor("w", spec, {4, 2, 3, 3}, 2, w), Error);
}

TEST(Harden, ScalesPerBlockRunAsTheyDecode) {
  for (const char* text : {"nf4@7", "uniform:2@row", "binary-scaled@16"}) {
    nn::Trainer t = reference();
    const Scores data;
    const auto plan = plan_compression(t.parameters(), t.state(), {{CodebookSpec::parse(text), 0}});
    EXPECT_NE(plan.text().find("a scale per "), std::string::npos);
    const PostTraining fisher = fisher_compression(32);
    const auto result = compress(t, data, plan, fisher);
    Model model = harden(t, result.codebooks);
    const SizeReport sizes = size_report(model);
    std::int64_t scales = 0;
    for (const auto& tensor : sizes.tensors) scales += tensor.scale_bytes;
    EXPECT_GT(scales, 0) << text;
    State decoded = decoded_state(t.state(), result.codebooks);
    nn::Evaluator dense(nn::inference_graph(t), t.task()), packed(clone(model.graph), t.task());
    EXPECT_NEAR(dense(decoded, data).loss(), packed(model.state, data).loss(), 1e-5) << text;
  }
}

TEST(Lc, LearnsWithAScalePerRow) {
  nn::Trainer t = reference(10);
  const Scores data;
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::parse("binary-scaled@row"), 0}});
  nn::Evaluator evaluate(nn::inference_graph(t), t.task());
  const PostTraining dc = direct_compression();
  State direct = decoded_state(t.state(), compress(t, data, plan, dc).codebooks);
  LearningCompression lc({.alternation = {.steps = 14, .epochs = 3, .first_epochs = 6, .lr = 0.05},
                          .mu = 1e-2,
                          .mu_growth = 1.5});
  const auto learned = compress(t, data, plan, lc);
  EXPECT_LT(learned.c_steps.back().distance, 0.02);
  State after = decoded_state(t.state(), learned.codebooks);
  EXPECT_GT(tessera::testing::accuracy(evaluate(after, data)),
            tessera::testing::accuracy(evaluate(direct, data)) + 0.03);
}

TEST(Plan, ScalesPerBlockWhereTheyCannotBe) {
  nn::Trainer t = reference();
  const auto spec = CodebookSpec::parse("nf4@8");
  EXPECT_THROW(plan_compression(t.parameters(), t.state(), {{spec, 2}}), Error);
  Policy shared{{spec, 0}};
  shared.shared = {"fc.*weight"};
  EXPECT_THROW(plan_compression(t.parameters(), t.state(), shared), Error);
  const auto plan = plan_compression(t.parameters(), t.state(), {{spec, 0}});
  EXPECT_EQ(
      test::error_of([&] { adaround(AdaRoundOptions{}).require(plan); }),
      "adaround: 'fc1.weight' is to have a scale per block; dc, fisher, idc and lc fit those");
}

}  // namespace
}  // namespace tessera::quant
