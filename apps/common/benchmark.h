// What makes one application differ from another: its networks, its data, and the settings that
// runs start from. The verbs (verbs/verbs.h) work on nothing else.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/common/recipe.h"
#include "datasets/indexed_source.h"
#include "datasets/preprocess.h"
#include "nn/task.h"

namespace tessera::apps {

// A flag that takes one of a few words, of which the first is the default; with no words listed,
// any text, by default none.
struct Choice {
  std::string name, about;
  std::vector<std::string> values;
  std::vector<std::string> networks = {};  // that it is for; none: all
};

struct Network {
  std::shared_ptr<const nn::Network> network;
  Config settings;  // what it is; goes into model files
};

// A set of samples that is measured on.
struct TestSet {
  std::string name;
  std::shared_ptr<const BatchSource> source;
  // Training images of the data set, which our own training leaves out.
  bool held_out = false;
  // Held out by us, but the network measured was trained elsewhere and may know them: they are
  // measured, and count for no figure of the test set.
  bool seen = false;
};

struct DataRequest {
  std::string from;           // a folder, or "synthetic...": the built-in set
  std::vector<Field> inputs;  // what the network reads
  Config choices;             // value of each of Benchmark::data_choices
  // For models that carry their preprocessing: the test images alone, as they are stored. Sets that
  // cannot do without their training images may read them.
  bool raw = false;
};

struct Data {
  std::string text;  // for people: "MNIST from data/mnist (60000 training and 10000 test images)"
  std::shared_ptr<const nn::Task> task;  // what is learned from it
  // What data and preprocessing are; goes into model files, and must be the same where a model is
  // measured.
  Config settings;
  // What the samples went through; absent where that is not a scale and a shift.
  std::optional<datasets::Preprocess> preprocess = {};
  // Training batches in the order of a seed, with these augmentations (none when empty). Not set
  // where there is nothing to train on. Throws Error for an augmentation it does not know.
  std::function<std::shared_ptr<const datasets::IndexedSource>(std::uint64_t seed,
                                                               const std::string& augment)>
      train;
  // Whether samples need no decoding: those without augmentation are not worth a thread that makes
  // them ahead.
  bool in_memory = true;
  std::vector<TestSet> tests;        // at least one
  std::string measured_on = "test";  // or "validation": what `tests` are
  // Images without labels in a folder, prepared as the others are, for what calibrates; their
  // labels are 0. Not set where there is no such form.
  std::function<std::shared_ptr<const BatchSource>(const std::string& folder)> unlabelled;
  // What was wrong with the data read until now and passed over, a line each. May be unset.
  std::function<std::vector<std::string>()> problems;
};

struct Recipes {
  TrainRecipe train;
  CompressRecipe compress;
};

// What the application does without a verb.
struct Story {
  std::string about, network;
  Recipes recipes;
  std::vector<std::string> codebooks = {"adaptive:2", "adaptive:4"}, methods = {"dc", "idc", "lc"};
};

struct Benchmark {
  std::string name;                   // of the program and of its output folder
  std::string about;                  // one sentence for --help
  std::string data_help;              // what --data takes
  std::string calibration_help;       // what --calibration takes: "a folder of pictures"
  std::vector<std::string> networks;  // offered by --net; the first is the default
  std::vector<Choice> network_choices, data_choices;

  // The task of a network where no data says more.
  std::function<std::shared_ptr<const nn::Task>(const std::string& network)> task;
  // A network for a task.
  std::function<Network(const std::string& name, const nn::Task& task, const Config& choices)>
      network;
  std::function<Data(const DataRequest& request)> data;
  std::function<Recipes(const std::string& network)> recipes;
  // Names of others for the tensors of a network, as rules of core/files/import.h; by network.
  std::map<std::string, std::vector<std::string>> import_rules = {};
  std::optional<Story> story;
};

// main() of an application.
int run_benchmark(int argc, char** argv, const Benchmark& benchmark);

}  // namespace tessera::apps
