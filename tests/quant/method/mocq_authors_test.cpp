// MOCQ as its authors' code has it, from scratch on a small problem.
#include "quant/method/mocq_authors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "nn/classification.h"
#include "nn/norm.h"
#include "quant/method/compress.h"
#include "tests/accuracy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

constexpr int kBits = 2;

MocqAuthorsOptions options(int epochs) {
  MocqAuthorsOptions out;
  out.schedule = {.epochs = epochs, .lr = 0.1, .steps = {100 / 350.0, 225 / 350.0, 300 / 350.0}};
  return out;
}

nn::Trainer untrained() {
  auto net = std::make_shared<nn::Sequential>();
  // Weights that lie within the grid and stay there: the error pushes those beyond it outwards.
  net->add("fc1", nn::Linear(20, 40, true, nn::Init::normal(0.04f), nn::Init::constant(0)));
  net->add("norm", nn::BatchNorm2d(40)).add("act", nn::ReLU()).add("fc2", nn::Linear(40, 4));
  nn::TrainerOptions training;
  training.batch = 50;
  training.optimizer.nesterov = false;
  training.optimizer.weight_decay = 5e-4;
  return nn::classifier(net, {20}, 4, training);
}

TEST(MocqAuthors, RateFallsInStepsWithTheEpochs) {
  for (const int epochs : {350, 35, 7}) {
    const MocqAuthors method(options(epochs));
    for (const auto& [epoch, rate] : std::map<double, double>{{0, 0.1},
                                                              {99.9, 0.1},
                                                              {100, 1e-2},
                                                              {224, 1e-2},
                                                              {225, 1e-3},
                                                              {300, 1e-4},
                                                              {349, 1e-4}})
      EXPECT_NEAR(method.learning_rate(epoch * epochs / 350) / rate, 1, 1e-9) << epochs << epoch;
  }
}

TEST(MocqAuthors, FromScratchTheErrorMovesWeightsToTheGridThatTheyEndOn) {
  nn::Trainer trainer = untrained();
  const test::Scores data;
  const auto plan =
      plan_compression(trainer.parameters(), trainer.state(),
                       {{CodebookSpec::adaptive(1 << kBits), 0}, {{"fc2.weight", std::nullopt}}});
  constexpr int kEpochs = 56;
  MocqAuthorsOptions small = options(kEpochs);
  small.schedule.lr = 0.01;
  MocqAuthors method(small);
  const auto result = compress(trainer, data, plan, method);
  ASSERT_EQ(result.c_steps.size(), kEpochs + 1u);
  // From where the error pulls as much as the task does.
  EXPECT_LT(result.c_steps.back().distance, 0.95 * result.c_steps[5 * kEpochs / 7].distance);
  const double s = AuthorsPeriodicError::step(kBits);
  for (const auto& [name, c] : result.codebooks) {
    const auto w = std::as_const(trainer.state()).get(name).to_vector<float>();
    std::vector<float> decoded(w.size());
    c.decode(decoded);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double k = std::clamp(std::nearbyint(w[i] / s), -2.0, 1.0);
      EXPECT_NEAR(decoded[i], k * s, 1e-6) << name << " " << w[i];
    }
  }
  nn::Evaluator evaluate(nn::inference_graph(trainer), trainer.task());
  State decoded = decoded_state(trainer.state(), result.codebooks);
  EXPECT_GT(tessera::testing::accuracy(evaluate(decoded, data)), 0.7);
}

TEST(MocqAuthors, TakesUniformGridsAndFreeOnes) {
  nn::Trainer trainer = untrained();
  const auto error_of = [&](CodebookSpec spec) {
    const auto plan =
        plan_compression(trainer.parameters(), trainer.state(), {{std::move(spec), 0}});
    return test::error_of([&] { MocqAuthors(options(7)).require(plan); });
  };
  EXPECT_EQ(error_of(CodebookSpec::adaptive(4)), "no error");
  EXPECT_EQ(error_of(CodebookSpec::uniform(2)), "no error");
  EXPECT_EQ(error_of(CodebookSpec::nf4()),
            "mocq-authors does not make codebooks of nf4, which 'fc1.weight' is to have");
}

}  // namespace
}  // namespace tessera::quant
