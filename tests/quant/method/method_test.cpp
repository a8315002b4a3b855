// Policy and plan, DC, iDC and LC on a network small enough to check by hand, hardening, reports.
#include <gtest/gtest.h>

#include <cmath>

#include "nn/schedule.h"
#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/method/representatives.h"
#include "tests/accuracy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

using test::error_of;
using test::reference;
using test::Scores;

Policy policy(int k, std::vector<PolicyRule> rules = {}) {
  return {{CodebookSpec::adaptive(k), 0}, std::move(rules)};
}

TEST(Plan, NamesEveryTensorAndWhy) {
  const nn::Trainer t = reference();
  const auto plan =
      plan_compression(t.parameters(), t.state(), policy(2, {{"fc2.*", std::nullopt}}));
  ASSERT_EQ(plan.tensors.size(), 4u);
  EXPECT_TRUE(plan.tensors[0].choice);
  EXPECT_EQ(plan.tensors[1].reason, "bias or scale, kept f32");
  EXPECT_EQ(plan.tensors[2].reason, "rule 'fc2.*'");
  EXPECT_NE(plan.text().find("fc1.weight      [40,20]       adaptive:2"), std::string::npos)
      << plan.text();
}

TEST(Plan, RefusesWhatCannotWork) {
  nn::Trainer t = reference();
  const auto plan = [&](const Policy& p) { return plan_compression(t.parameters(), t.state(), p); };
  EXPECT_EQ(error_of([&] {
              plan(policy(2, {{"fc9.*", std::nullopt}}));
            }),
            "policy rule 'fc9.*' matches no parameter");
  EXPECT_EQ(error_of([&] {
              plan(policy(2, {{".*", std::nullopt}}));
            }),
            "nothing to compress: every parameter is skipped");
  EXPECT_NE(error_of([&] {
              plan(policy(2, {{"(", std::nullopt}}));
            }).find("not a regular expression"),
            std::string::npos);
  EXPECT_EQ(error_of([&] {
              plan(policy(2, {{"fc2.weight", TensorChoice{CodebookSpec::adaptive(200), 0}}}));
            }),
            "'fc2.weight': 200 entries for 160 weights");
  Tensor w = t.state().get("fc2.weight");
  w.span<float>()[7] = std::nanf("");
  EXPECT_EQ(error_of([&] { plan(policy(2)); }),
            "'fc2.weight' has nan at position 7; it cannot be compressed");
}

TEST(Alternation, FirstStepIsLonger) {
  const Alternation a{.steps = 3, .epochs = 2, .first_epochs = 5, .lr = 1, .lr_decay = 0.5};
  EXPECT_EQ(a.total_epochs(), 9);
  EXPECT_EQ(a.complete(4.99), 0);
  EXPECT_EQ(a.complete(5), 1);
  EXPECT_EQ(a.complete(6.99), 1);
  EXPECT_EQ(a.complete(7), 2);
  EXPECT_EQ(a.complete(8.99), 2);
  EXPECT_EQ(a.complete(9), 3);
  EXPECT_DOUBLE_EQ(a.rate(8), 0.25);
}

TEST(Alternation, StepsMayBeShorterThanAnEpoch) {
  const Alternation a{.steps = 4, .epochs = 0.7, .first_epochs = 0.7, .lr = 1, .lr_decay = 0.5};
  EXPECT_EQ(a.total_epochs(), 3);
  EXPECT_EQ(a.complete(0.69), 0);
  EXPECT_EQ(a.complete(3 * 0.7), 3);
  EXPECT_EQ(a.complete(2.99), 3);  // the last step lasts to the end of the epoch
  EXPECT_EQ(a.complete(3), 4);
  EXPECT_DOUBLE_EQ(a.rate(2.9), 0.125);
  // A last step that is longer than the others ends as they do.
  const Alternation b{
      .steps = 3, .epochs = 0.3, .first_epochs = 1, .lr = 1, .lr_decay = 1, .lr_final = 0.01};
  EXPECT_EQ(b.total_epochs(), 2);
  EXPECT_NEAR(b.rate(1.9), 0.01, 1e-12);
}

LcOptions lc_options(bool augmented = true) {
  LcOptions options;
  options.alternation = {.steps = 14, .epochs = 3, .first_epochs = 6, .lr = 0.05, .lr_decay = 0.97};
  options.mu = 1e-2;
  options.mu_growth = 1.5;
  options.augmented = augmented;
  return options;
}

TEST(Lc, EndsOnItsCodebookAndBeatsDirectCompression) {
  nn::Trainer t = reference(10);  // so few that one bit hurts
  const Scores data;
  const double before = tessera::testing::accuracy(t.evaluate(data));
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  nn::Evaluator evaluate(nn::inference_graph(t), t.task());

  const PostTraining dc = direct_compression();
  const auto direct = compress(t, data, plan, dc);
  State decoded = decoded_state(t.state(), direct.codebooks);
  const double after_dc = tessera::testing::accuracy(evaluate(decoded, data));

  LearningCompression lc(lc_options());
  const auto learned = compress(t, data, plan, lc);
  ASSERT_TRUE(learned.finished);
  ASSERT_EQ(learned.c_steps.size(), 15u);
  EXPECT_GT(learned.c_steps.front().distance, 0.3);
  EXPECT_LT(learned.c_steps.back().distance, 0.02);
  EXPECT_EQ(learned.c_steps.back().changed, 0);
  EXPECT_NEAR(learned.c_steps[2].mu, 1e-2 * 1.5, 1e-9);
  State final_state = decoded_state(t.state(), learned.codebooks);
  const double after_lc = tessera::testing::accuracy(evaluate(final_state, data));
  EXPECT_GT(after_lc, after_dc + 0.05) << "reference " << before;
}

TEST(Lc, StepsWithinAnEpoch) {
  nn::Trainer t = reference(10);
  const Scores data;
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  LcOptions options = lc_options();
  options.alternation.epochs = 0.5;
  options.alternation.first_epochs = 1;
  options.mu *= 6;
  LearningCompression lc(options);
  EXPECT_EQ(lc.epochs(), 8);
  const auto learned = compress(t, data, plan, lc);
  ASSERT_EQ(learned.c_steps.size(), 15u);
  for (std::size_t i = 0; i < learned.c_steps.size(); ++i) {
    EXPECT_EQ(learned.c_steps[i].step, static_cast<std::int64_t>(i));
    if (i > 0) EXPECT_NEAR(learned.c_steps[i].mu, 6e-2 * std::pow(1.5, i - 1), 1e-6);
  }
  EXPECT_LT(learned.c_steps.back().distance, 0.02);
  EXPECT_EQ(learned.c_steps.back().changed, 0);
}

TEST(Lc, QuadraticPenaltyKeepsMultipliersAtZero) {
  nn::Trainer t = reference();
  const auto plan = plan_compression(t.parameters(), t.state(), policy(4));
  LearningCompression lc(lc_options(false));
  EXPECT_EQ(lc.name(), "lc-qp");
  const auto result = compress(t, Scores(), plan, lc);
  for (const float v : t.state().get("fc1.weight.lc_multiplier").span<float>()) EXPECT_EQ(v, 0);
  EXPECT_LT(result.c_steps.back().distance, result.c_steps.front().distance);
}

TEST(Lc, TheRateStaysBelowTheInverseOfMu) {
  LcOptions options = lc_options();
  options.mu = 100;
  EXPECT_DOUBLE_EQ(LearningCompression(options).learning_rate(0), 0.01);
  options.clip_rate = false;
  EXPECT_DOUBLE_EQ(LearningCompression(options).learning_rate(0), 0.05);
}

TEST(Alternation, FallsOverAllSteps) {
  const Alternation a{
      .steps = 4, .epochs = 1, .first_epochs = 1, .lr = 2, .lr_decay = 1, .lr_fall = 0.1};
  EXPECT_NEAR(a.rate(0), 2, 1e-12);
  EXPECT_NEAR(a.rate(2), 2 * (0.1 + 0.9 / 2), 1e-12);
  EXPECT_NEAR(a.rate(4), 0.2, 1e-12);
}

// mu T is 6 at first and 93 at last where the rate has not fallen, T = updates lr / (1 - momentum).
TEST(Lc, MuIsChosenByWhatSgdCovers) {
  nn::Trainer t = reference();
  const Scores data;
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  LcOptions options;
  options.alternation = {
      .steps = 5, .epochs = 2, .first_epochs = 2, .lr = 0.1, .lr_decay = 1, .lr_fall = 0.01};
  LearningCompression lc(options);
  lc.begin(t, plan, data);
  const double time = static_cast<double>(t.steps_per_epoch(data)) * 10 * 0.1 /
                      (1 - t.options().optimizer.momentum);
  const auto share = [&](double epoch) { return options.alternation.rate(epoch) / 0.1; };
  EXPECT_NEAR(lc.mu(0) * time * share(1), 6, 1e-9);
  EXPECT_NEAR(lc.mu(2) * time * share(5), 6 * std::sqrt(93.0 / 6), 1e-9);
  EXPECT_NEAR(lc.mu(4) * time * 0.05, 93, 1e-9);  // the rate has fallen to less than a twentieth
  EXPECT_EQ(lc.chosen().find("codebooks"), std::string::npos);

  options.mu = 1e-2;  // what is given is kept, whatever the rates do
  LearningCompression given(options);
  t.clear_objectives();
  given.begin(t, plan, data);
  EXPECT_NEAR(given.mu(0), 1e-2, 1e-12);
  EXPECT_NEAR(given.mu(4), 1e-2 * 93 / 6, 1e-9);
  options.mu_growth = 2;
  EXPECT_NEAR(LearningCompression(options).mu(3), 8e-2, 1e-9);
}

TEST(Lc, TooShortStepsBecomeFewer) {
  nn::Trainer t = reference();
  const Scores data;
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  const auto updates = static_cast<int>(t.steps_per_epoch(data)) * 6;
  LcOptions options;
  options.alternation = {.steps = 12, .epochs = 0.5, .first_epochs = 0.5, .lr = 0.05};
  options.least_updates = updates / 4;
  LearningCompression lc(options);
  const auto learned = compress(t, data, plan, lc);
  EXPECT_EQ(learned.c_steps.size(), 5u) << learned.chosen;  // direct compression and 4 steps
  EXPECT_EQ(lc.epochs(), 6);
}

// At the end the forward pass takes the nearest entries, which are trained and which C steps keep;
// in the last tenth weights are held.
TEST(Lc, EndsOnTheCodebooks) {
  nn::Trainer t = reference(10);
  const Scores data;
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  LcOptions options;
  options.alternation = {.steps = 10, .epochs = 1, .first_epochs = 1, .lr = 0.05};
  const double updates = static_cast<double>(t.steps_per_epoch(data)) * 10;
  options.finish = updates / 2;
  LearningCompression lc(options);
  lc.begin(t, plan, data);
  EXPECT_NE(lc.chosen().find("on the codebooks from step 5"), std::string::npos) << lc.chosen();
  EXPECT_GT(lc.learning_rate(4.99), 0.04);
  EXPECT_NEAR(lc.learning_rate(5), 0, 1e-12);
  EXPECT_NEAR(lc.learning_rate(5.25), 0.025, 1e-12);  // rises over a tenth of 5 epochs
  EXPECT_NEAR(lc.learning_rate(5.75), 0.05, 1e-12);
  const auto weights = [&] {
    return std::as_const(t.state()).get("fc1.weight").to_vector<float>();
  };
  const auto entries = [&] {
    return std::as_const(t.state()).get("fc1.weight.representatives").to_vector<float>();
  };
  nn::Position position;
  for (int epoch = 0; epoch < 10; ++epoch) {
    lc.before_epoch(t, epoch);
    const auto before = weights();
    const auto had = entries();
    t.train_epoch(data, position, [&](double e) { return lc.learning_rate(e); });
    const auto trained = entries();
    const auto report = lc.after_update(t, epoch + 0.9, epoch + 1);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->step, epoch + 1);
    EXPECT_EQ(report->mu > 0, epoch < 5) << epoch;
    EXPECT_EQ(weights() == before, epoch == 9) << epoch;
    EXPECT_EQ(had == trained, epoch < 5) << epoch;
    if (epoch < 5) continue;
    const CodebookTensor c = lc.codebooks(t).at("fc1.weight");
    const auto w = weights();
    for (std::size_t i = 0; i < w.size(); ++i)
      EXPECT_EQ(c.indices[i], std::fabs(w[i] - c.entries[1]) < std::fabs(w[i] - c.entries[0]));
    EXPECT_EQ(trained, c.entries);
    EXPECT_EQ(entries(), trained);
  }
}

// A training shorter than the part on the codebooks is that part alone, and weights move to its
// end, the more the shorter it is.
TEST(Lc, ShortTrainingsHoldNoWeights) {
  const Scores data;
  std::vector<double> moved;
  for (const double full : {0.0, 9.0}) {
    nn::Trainer t = reference(10);
    const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
    const auto weights = [&] {
      return std::as_const(t.state()).get("fc1.weight").to_vector<float>();
    };
    const double updates = static_cast<double>(t.steps_per_epoch(data)) * 10;
    LcOptions options;
    options.alternation = {.steps = 10, .epochs = 1, .first_epochs = 1, .lr = 0.01};
    options.finish = 1.5 * updates;
    options.full_updates = full * updates;
    LearningCompression lc(options);
    lc.begin(t, plan, data);
    EXPECT_NE(lc.chosen().find("on the codebooks from step 0"), std::string::npos) << lc.chosen();
    nn::Position position;
    for (int epoch = 0; epoch < 10; ++epoch) {
      lc.before_epoch(t, epoch);
      const auto before = weights();
      t.train_epoch(data, position, [&](double e) { return lc.learning_rate(e); });
      ASSERT_TRUE(lc.after_update(t, epoch + 0.9, epoch + 1));
      const auto after = weights();
      EXPECT_NE(after, before) << epoch;
      if (epoch > 0) continue;
      double squares = 0;
      for (std::size_t i = 0; i < after.size(); ++i)
        squares += std::pow(static_cast<double>(after[i]) - before[i], 2);
      moved.push_back(std::sqrt(squares));
    }
  }
  EXPECT_GT(moved[1], 2 * moved[0]);
}

TEST(ForwardStages, GainsOfShortTrainings) {
  EXPECT_DOUBLE_EQ(short_training_gain(2000, 500), 2);
  EXPECT_DOUBLE_EQ(short_training_gain(2000, 20), 4);
  EXPECT_DOUBLE_EQ(short_training_gain(2000, 6000), 1);
  EXPECT_DOUBLE_EQ(short_training_gain(0, 6000), 1);
}

TEST(Lc, AGivenMuHasSteps) {
  nn::Trainer t = reference();
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  LcOptions options;
  options.alternation = {.steps = 4, .epochs = 1, .first_epochs = 1, .lr = 0.05};
  options.finish = 1e9;  // all of it
  const auto penalties = [&] {
    LearningCompression lc(options);
    const auto learned = compress(t, Scores(), plan, lc);
    int steps = 0;
    for (const CStepReport& step : learned.c_steps) steps += step.mu > 0;
    return steps;
  };
  EXPECT_EQ(penalties(), 0);
  options.mu_growth = 2;
  EXPECT_EQ(penalties(), 2);
  options.mu = 0.01;
  EXPECT_EQ(penalties(), 2);
}

TEST(Lc, VectorsStayOnThePenalty) {
  nn::Trainer t = reference();
  const auto plan =
      plan_compression(t.parameters(), t.state(), {{CodebookSpec::parse("vector:4x2"), 0}, {}});
  LcOptions options;
  options.alternation = {.steps = 2, .epochs = 1, .first_epochs = 1, .lr = 0.05};
  options.finish = 1e6;
  LearningCompression lc(options);
  const auto learned = compress(t, Scores(), plan, lc);
  EXPECT_EQ(learned.chosen.find("codebooks"), std::string::npos);
  EXPECT_GT(learned.c_steps.back().mu, 0);
}

TEST(IteratedDc, GoesOnFromTheQuantizedWeights) {
  nn::Trainer t = reference();
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  IteratedDirectCompression idc({.steps = 2, .epochs = 1, .first_epochs = 1, .lr = 0.01});
  const auto result = compress(t, Scores(), plan, idc);
  EXPECT_EQ(result.c_steps.size(), 3u);
  std::vector<float> delta(800);
  result.codebooks.at("fc1.weight").decode(delta);
  EXPECT_EQ(t.state().get("fc1.weight").to_vector<float>(), delta);
}

TEST(Harden, ThePackedModelComputesTheDecodedNetwork) {
  nn::Trainer t = reference();
  const Scores data;
  const Policy mixed{{CodebookSpec::adaptive(5), 7},
                     {{"fc2.weight", TensorChoice{CodebookSpec::scaled_ternary(), 0}}}};
  const auto plan = plan_compression(t.parameters(), t.state(), mixed);
  const PostTraining dc = direct_compression();
  const auto result = compress(t, data, plan, dc);
  Model model = harden(t, result.codebooks);
  State decoded = decoded_state(t.state(), result.codebooks);
  nn::Evaluator dense(nn::inference_graph(t), t.task()),
      packed(clone(model.graph), t.task(), {.packed_only = true});
  const auto a = dense(decoded, data), b = packed(model.state, data);
  EXPECT_NEAR(a.loss(), b.loss(), 1e-6);
  EXPECT_FALSE(model.state.has("fc1.weight"));  // no dense copy beside the codebook

  const SizeReport report = size_report(model);
  // fc1: 800 weights at 3 bits, 6 groups of 5 entries; fc2: 160 at 2 bits, 3 entries; 44 biases.
  EXPECT_EQ(report.weights(), 960);
  EXPECT_EQ(report.bytes(), 300 + 6 * 5 * 4 + 40 + 3 * 4 + 44 * 4);
  EXPECT_NEAR(report.bits_per_weight(), 8.0 * (300 + 120 + 40 + 12) / 960, 1e-12);
  // The codebooks as they are, the indices at their entropy.
  const double codebooks = 8.0 * (120 + 12) / 960;
  EXPECT_GT(report.entropy_bits_per_weight(), codebooks + 1);
  EXPECT_LE(report.entropy_bits_per_weight(),
            codebooks + (800 * std::log2(5) + 160 * std::log2(3)) / 960 + 1e-9);
  EXPECT_NEAR(report.ratio(), 4.0 * (960 + 44) / static_cast<double>(report.bytes()), 1e-9);
  EXPECT_FALSE(report.entropy_coded());
  EXPECT_EQ(report.file_bits_per_weight(), report.bits_per_weight());

  // What a file holds of the indices stands beside the figures of the memory, and changes none.
  const SizeReport coded = size_report(model, {{"fc1.weight.indices", 250}});
  EXPECT_TRUE(coded.entropy_coded());
  EXPECT_EQ(coded.bytes(), report.bytes());
  EXPECT_EQ(coded.bits_per_weight(), report.bits_per_weight());
  EXPECT_EQ(coded.index_bytes(), 340);
  EXPECT_EQ(coded.file_index_bytes(), 290);
  EXPECT_NEAR(coded.file_bits_per_weight(), 8.0 * (250 + 120 + 40 + 12) / 960, 1e-12);
  EXPECT_NE(coded.text().find("indices entropy-coded to 290 from 340"), std::string::npos);
}

TEST(Harden, RefusesACodebookForAnotherParameter) {
  nn::Trainer t = reference();
  const auto plan = plan_compression(t.parameters(), t.state(), policy(2));
  const PostTraining dc = direct_compression();
  auto codebooks = compress(t, Scores(), plan, dc).codebooks;
  codebooks.emplace("fc7.weight", codebooks.begin()->second);
  EXPECT_THROW(harden(t, codebooks), Error);
}

}  // namespace
}  // namespace tessera::quant
