// The verbs of `mnist`. Each gets the arguments after its name and returns the exit code.
#pragma once

#include <string>
#include <vector>

#include "apps/common/recipe.h"
#include "apps/common/session.h"

namespace tessera::apps {

// Without a verb: the whole story on the built-in digits.
int mnist_story(const std::vector<std::string>& args);
int mnist_train(const std::vector<std::string>& args);
int mnist_compress(const std::vector<std::string>& args);
int mnist_eval(const std::vector<std::string>& args);
int mnist_bench(const std::vector<std::string>& args);
int mnist_export(const std::vector<std::string>& args);
int mnist_import(const std::vector<std::string>& args);

// Defaults of the verbs, in one place each.
TrainRecipe default_training();
CompressRecipe default_compression();
// Of the story, sized for two minutes on two cores.
TrainRecipe story_training();
CompressRecipe story_compression();

RunFlags default_run();  // out/mnist

}  // namespace tessera::apps
