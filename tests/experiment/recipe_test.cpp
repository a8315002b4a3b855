// Schedules of methods on a budget of epochs.
#include "experiment/recipe.h"

#include <gtest/gtest.h>

#include "quant/method/lc.h"
#include "tests/datasets/temp_dir.h"

namespace tessera::experiment {
namespace {

using datasets::error_of;

CompressRecipe sample() {
  CompressRecipe recipe;
  recipe.methods.set({{"mu", 1e-3},
                      {"mu-growth", 1.2},
                      {"lc-steps", 30},
                      {"lc-epochs", 10},
                      {"first-epochs", 20},
                      {"lr", 0.1},
                      {"lr-decay", 0.97}});
  return recipe;
}

// What the penalty does in a step, but for the learning rate.
double pull(const CompressRecipe& recipe, int step) {
  return quant::LearningCompression(quant::lc_options(recipe.methods)).mu(step) *
         recipe.methods.number("lc-epochs");
}

TEST(WithEpochs, TotalIsExactAndStepsDoTheSame) {
  const CompressRecipe recipe = sample();
  for (const std::int64_t epochs : {1, 2, 3, 7, 29, 30, 31, 100, 309, 310, 311, 5000}) {
    const CompressRecipe scaled = recipe.with_epochs("lc", epochs);
    const quant::Alternation steps = quant::alternation(scaled.methods);
    EXPECT_EQ(scaled.method("lc").epochs(), epochs);
    EXPECT_EQ(recipe.with_epochs("idc", epochs).method("idc").epochs(), epochs);
    EXPECT_EQ(steps.steps, 30);
    EXPECT_NEAR(steps.first_epochs / steps.epochs, 2, 1e-9);
    for (const int step : {0, 13, 29}) {
      EXPECT_NEAR(pull(scaled, step) / pull(recipe, step), 1, 1e-9) << epochs;
    }
    const double total = static_cast<double>(epochs);
    for (const double share : {0.01, 0.5, 0.99}) {
      EXPECT_NEAR(steps.rate(total * share) / quant::alternation(recipe.methods).rate(310 * share),
                  1, 1e-9)
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
  for (const std::string& name : quant::method_names()) {
    const auto epochs = recipe.with_epochs(name, 17).method(name).epochs();
    EXPECT_EQ(epochs, recipe.method(name).epochs() == 0 ? 0 : 17) << name;
  }
  EXPECT_THROW(recipe.with_epochs("lc", 0), Error);
  EXPECT_THROW(recipe.with_epochs("magic", 5), Error);
}

// Behind epochs 100, 225 and 300 of 350, and the same shares of fewer.
void expect_steps(const nn::Schedule& rate, double epochs) {
  for (const auto& [epoch, expected] : std::map<double, double>{
           {0, 0.1}, {99.9, 0.1}, {100.1, 1e-2}, {224.9, 1e-2}, {225.1, 1e-3}, {349, 1e-4}})
    EXPECT_NEAR(rate(epoch * epochs / 350) / expected, 1, 1e-9) << epochs << " " << epoch;
}

TEST(LrSteps, OfMethodsAreSharesOrTheEpochsThatWereAsked) {
  CompressRecipe recipe;
  recipe.methods.set(
      {{"train-epochs", 350},
       {"train-lr", 0.1},
       {"train-lr-steps", "0.2857142857142857,0.6428571428571429,0.8571428571428571"}});
  for (const std::string name : {"mocq-authors", "lsq", "dkm"}) {
    for (const std::int64_t epochs : {350, 35, 7}) {
      const auto method = recipe.with_epochs(name, epochs).method(name).training;
      expect_steps([&](double epoch) { return method->learning_rate(epoch); },
                   static_cast<double>(epochs));
    }
  }
  // However many epochs there are, a step behind epoch 100 is behind epoch 100.
  recipe.methods.set({{"train-epochs", 30}, {"train-lr-steps", "100,225,300"}});
  for (const std::string name : {"mocq-authors", "lsq", "dkm"}) {
    EXPECT_EQ(error_of([&] { recipe.method(name); }),
              "--train-lr-steps 100,225,300: training ends with epoch 30, the step behind epoch "
              "100 never "
              "comes; shares such as 0.3,0.6 suit any number");
    for (const std::int64_t epochs : {350, 400}) {
      const CompressRecipe scaled = recipe.with_epochs(name, epochs);
      const auto method = scaled.method(name).training;
      expect_steps([&](double epoch) { return method->learning_rate(epoch); }, 350);
      EXPECT_EQ(scaled.config(name, "adaptive:2").at("train.lr_steps"), "x 0.1 at 100,225,300");
    }
    EXPECT_NE(error_of([&] { recipe.with_epochs(name, 300); }), "");
  }
  EXPECT_EQ(recipe.config("lsq", "adaptive:2").at("train.lr_steps"), "x 0.1 at 100,225,300");
  EXPECT_FALSE(recipe.config("lsq", "adaptive:2").contains("train.lr_final"));
}

TEST(LrSteps, OfTrainingStandInPlaceOfTheCosine) {
  TrainRecipe recipe;
  recipe.epochs = 350;
  recipe.lr = 0.1;
  recipe.lr_steps.list = "100,225,300";
  expect_steps(recipe.schedule(), 350);
  recipe.epochs = 70;
  recipe.lr_steps.list = "20,0.6428571428571429,60";
  expect_steps(recipe.schedule(), 70);
  recipe.lr_steps.factor = 0.5;
  EXPECT_DOUBLE_EQ(recipe.schedule()(25), 0.05);
  recipe.lr_steps.list = "20,x";
  EXPECT_THROW(recipe.validate("train-"), Error);
  recipe.lr_steps.list = "20,69";
  EXPECT_NO_THROW(recipe.validate(""));
  recipe.lr_steps.list = "20,70";
  EXPECT_NE(error_of([&] { recipe.validate(""); }).find("the step behind epoch 70 never comes"),
            std::string::npos);
}

}  // namespace
}  // namespace tessera::experiment
