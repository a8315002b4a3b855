// The optimizer that tests/recipes/run.sh adds: it trains by its name.
#include <gtest/gtest.h>

#include <cmath>

#include "nn/classification.h"
#include "nn/fit.h"
#include "nn/schedule.h"
#include "tests/nn/spirals.h"

namespace tessera::nn {
namespace {

TEST(Recipe, TheNewOptimizerMovesEveryWeightByTheRate) {
  TrainerOptions options;
  options.batch = 32;
  options.optimizer.name = "signum";
  Trainer trainer = classifier(testing::network(), {2}, 2, options);
  State before;
  for (const auto& p : trainer.parameters())
    before.set(p.name, trainer.state().get(p.name).clone());
  Position position;
  trainer.train_epoch(testing::Spirals(32), position, constant(0.25));
  std::int64_t moved = 0;
  for (const auto& p : trainer.parameters()) {
    for (std::int64_t i = 0; i < p.type.shape.numel(); ++i) {
      const double step =
          std::fabs(element(trainer.state().get(p.name), i) - element(before.get(p.name), i));
      EXPECT_TRUE(step == 0 || std::fabs(step - 0.25) < 1e-6) << p.name << ' ' << step;
      moved += step != 0;
    }
  }
  EXPECT_GT(moved, 0);
}

}  // namespace
}  // namespace tessera::nn
