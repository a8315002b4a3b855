// The settings that runs start from.
#include "apps/mnist/verbs.h"

namespace tessera::apps {

TrainRecipe default_training() {
  TrainRecipe recipe;
  recipe.epochs = 30;
  recipe.batch = 256;
  recipe.lr = 0.1;
  recipe.lr_decay = 1;
  recipe.lr_final = 0.01;
  recipe.momentum = 0.9;
  recipe.nesterov = true;
  recipe.weight_decay = 0;
  return recipe;
}

CompressRecipe default_compression() {
  CompressRecipe recipe;
  recipe.lc.mu = 9e-5;
  recipe.lc.mu_growth = 1.1;
  recipe.lc.alternation.steps = 30;
  recipe.lc.alternation.epochs = 10;
  recipe.lc.alternation.first_epochs = 20;
  recipe.lc.alternation.lr = 0.09;
  recipe.lc.alternation.lr_decay = 0.98;
  recipe.lc.alternation.lr_final = 1;
  recipe.batch = 256;
  recipe.momentum = 0.9;
  recipe.nesterov = true;
  recipe.weight_decay = 0;
  return recipe;
}

TrainRecipe story_training() {
  TrainRecipe recipe = default_training();
  recipe.epochs = 20;
  recipe.batch = 128;
  return recipe;
}

CompressRecipe story_compression() {
  CompressRecipe recipe = default_compression();
  // Fewer and shorter steps, so mu starts higher and grows faster to the same end.
  recipe.lc.mu = 1e-3;
  recipe.lc.mu_growth = 1.25;
  recipe.lc.alternation.steps = 20;
  recipe.lc.alternation.epochs = 4;
  recipe.lc.alternation.first_epochs = 8;
  recipe.lc.alternation.lr = 0.05;
  recipe.lc.alternation.lr_decay = 0.95;
  recipe.batch = 128;
  return recipe;
}

RunFlags default_run() {
  RunFlags flags;
  flags.out = "out/mnist";
  flags.name = "lenet300";
  return flags;
}

}  // namespace tessera::apps
