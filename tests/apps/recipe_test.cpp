// Schedules of methods on a budget of epochs.
#include "apps/common/recipe.h"

#include <gtest/gtest.h>

namespace tessera::apps {
namespace {

CompressRecipe sample() {
  CompressRecipe recipe;
  recipe.lc.mu = 1e-3;
  recipe.lc.mu_growth = 1.2;
  recipe.lc.alternation = {
      .steps = 30, .epochs = 10, .first_epochs = 20, .lr = 0.1, .lr_decay = 0.97};
  return recipe;
}

// What the penalty does in a step, but for the learning rate.
double pull(const CompressRecipe& recipe, int step) {
  return quant::LearningCompression(recipe.lc).mu(step) * recipe.lc.alternation.epochs;
}

TEST(WithEpochs, TotalIsExactAndStepsDoTheSame) {
  const CompressRecipe recipe = sample();
  for (const std::int64_t epochs : {1, 2, 3, 7, 29, 30, 31, 100, 309, 310, 311, 5000}) {
    const CompressRecipe scaled = recipe.with_epochs("lc", epochs);
    const auto& steps = scaled.lc.alternation;
    EXPECT_EQ(scaled.method("lc")->epochs(), epochs);
    EXPECT_EQ(recipe.with_epochs("idc", epochs).method("idc")->epochs(), epochs);
    EXPECT_EQ(steps.steps, 30);
    EXPECT_NEAR(steps.first_epochs / steps.epochs, 2, 1e-9);
    for (const int step : {0, 13, 29}) {
      EXPECT_NEAR(pull(scaled, step) / pull(recipe, step), 1, 1e-9) << epochs;
    }
    const double total = static_cast<double>(epochs);
    for (const double share : {0.01, 0.5, 0.99}) {
      EXPECT_NEAR(steps.rate(total * share) / recipe.lc.alternation.rate(310 * share), 1, 1e-9)
          << epochs;
    }
    EXPECT_NO_THROW(scaled.validate());
  }
}

TEST(WithEpochs, ItsOwnTotalChangesNothing) {
  const CompressRecipe recipe = sample(), same = recipe.with_epochs("lc", 310);
  EXPECT_EQ(same.config("lc", "adaptive:2"), recipe.config("lc", "adaptive:2"));
}

TEST(WithEpochs, EveryMethodIsScaledOrDoesNotTrain) {
  const CompressRecipe recipe = sample();
  for (const std::string& name : CompressRecipe::method_names()) {
    const auto epochs = recipe.with_epochs(name, 17).method(name)->epochs();
    EXPECT_EQ(epochs, recipe.method(name)->epochs() == 0 ? 0 : 17) << name;
  }
  EXPECT_THROW(recipe.with_epochs("lc", 0), Error);
  EXPECT_THROW(recipe.with_epochs("magic", 5), Error);
}

}  // namespace
}  // namespace tessera::apps
