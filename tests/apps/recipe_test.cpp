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

double last_pull(const CompressRecipe& recipe) {
  return pull(recipe, recipe.lc.alternation.steps - 1);
}

TEST(WithEpochs, TotalIsExactAndEndsAreKept) {
  const CompressRecipe recipe = sample();
  for (const std::int64_t epochs : {2, 3, 7, 29, 30, 31, 100, 309, 310, 311, 5000}) {
    const CompressRecipe scaled = recipe.with_epochs("lc", epochs);
    const auto& steps = scaled.lc.alternation;
    EXPECT_EQ(scaled.method("lc")->epochs(), epochs);
    EXPECT_EQ(recipe.with_epochs("idc", epochs).method("idc")->epochs(), epochs);
    EXPECT_GE(steps.steps, 2);
    EXPECT_GE(steps.first_epochs, 1);
    EXPECT_NEAR(pull(scaled, 0) / pull(recipe, 0), 1, 1e-9) << epochs;
    EXPECT_NEAR(last_pull(scaled) / last_pull(recipe), 1, 1e-9) << epochs;
    const double end = static_cast<double>(epochs) - 0.5;
    EXPECT_NEAR(steps.rate(end) / recipe.lc.alternation.rate(309.5), 1, 1e-9) << epochs;
    EXPECT_NO_THROW(scaled.validate());
  }
}

TEST(WithEpochs, ItsOwnTotalChangesNothing) {
  const CompressRecipe recipe = sample(), same = recipe.with_epochs("lc", 310);
  EXPECT_EQ(same.config("lc", "adaptive:2"), recipe.config("lc", "adaptive:2"));
}

TEST(WithEpochs, ShortBudgetsKeepManySteps) {
  const auto steps = sample().with_epochs("lc", 40).lc.alternation;
  EXPECT_EQ(steps.epochs, 1);
  EXPECT_EQ(steps.first_epochs, 2);
  EXPECT_EQ(steps.steps, 39);
  const auto one = sample().with_epochs("lc", 1).lc.alternation;
  EXPECT_EQ(one.steps, 1);
  EXPECT_EQ(one.first_epochs, 1);
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
