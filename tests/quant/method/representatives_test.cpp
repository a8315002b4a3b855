// Entries of a codebook that are trained.
#include "quant/method/representatives.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quant/method/compress.h"
#include "quant/method/lc.h"
#include "quant/method/mocq.h"
#include "quant/method/qar.h"
#include "tests/accuracy.h"
#include "tests/quant/scores.h"

namespace tessera::quant {
namespace {

const TrainingSchedule kSchedule{.epochs = 24, .lr = 0.05};

// Entries that stay levels times a scale, which is trained as free entries are.
TEST(Representatives, OnAUniformGridTrainItsScale) {
  MocqOptions mocq;
  mocq.schedule = kSchedule;
  QarOptions qar;
  qar.schedule = kSchedule;
  const std::unique_ptr<TrainedMethod> methods[] = {std::make_unique<Mocq>(mocq),
                                                    std::make_unique<Qar>(qar)};
  const test::Scores data;
  for (const auto& method : methods) {
    nn::Trainer trainer = test::reference(10);
    nn::Evaluator evaluate(nn::inference_graph(trainer), trainer.task());
    const auto plan =
        plan_compression(trainer.parameters(), trainer.state(), {{CodebookSpec::uniform(2), 0}});
    const PostTraining dc = direct_compression();
    const Codebooks start = compress(trainer, data, plan, dc).codebooks;
    State direct = decoded_state(trainer.state(), start);
    const auto result = compress(trainer, data, plan, *method);
    State after = decoded_state(trainer.state(), result.codebooks);
    EXPECT_GT(tessera::testing::accuracy(evaluate(after, data)),
              tessera::testing::accuracy(evaluate(direct, data)))
        << method->name();
    for (const auto& [name, c] : result.codebooks) {
      ASSERT_EQ(c.entries.size(), 4u);
      const float step = c.entries[3];
      EXPECT_GT(step, 0) << name;
      for (int k = 0; k < 4; ++k)
        EXPECT_NEAR(c.entries[static_cast<std::size_t>(k)], static_cast<float>(k - 2) * step,
                    1e-6f);
      EXPECT_GT(std::fabs(step / start.at(name).entries[3] - 1), 1e-3) << method->name() << name;
    }
  }
}

}  // namespace
}  // namespace tessera::quant
