// What makes one application differ from another: its networks, its data, and the settings that
// runs start from. The verbs (verbs/verbs.h) work on nothing else.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiment/recipe.h"
#include "experiment/task.h"
#include "nn/task.h"

namespace tessera::apps {

using namespace experiment;

// A flag that takes one of a few words, of which the first is the default; with no words listed,
// any text, by default none.
struct Choice {
  std::string name, about;
  std::vector<std::string> values;
  std::vector<std::string> networks = {};  // that it is for; none: all
  // What a model's settings keep of a value: of a file's name the text in it. None: the value.
  std::function<std::string(const std::string& value)> kept = {};
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

struct Benchmark;
// What an application does besides the verbs that all have.
struct OwnVerb {
  std::string name, about;
  int (*run)(const Benchmark& benchmark, const std::vector<std::string>& args);
};

struct Benchmark {
  std::string name;                   // of the program and of its output folder
  std::string about;                  // one sentence for --help
  std::string data_help;              // what --data takes
  std::string calibration_help;       // what --calibration takes: "a folder of pictures"
  std::vector<std::string> networks;  // offered by --net; the first is the default
  std::vector<Choice> network_choices, data_choices;

  // The task of a network where no data says more.
  std::function<std::shared_ptr<const nn::Task>(const std::string& network, const Config& choices)>
      task;
  // A network for a task.
  std::function<Network(const std::string& name, const nn::Task& task, const Config& choices)>
      network;
  std::function<Data(const DataRequest& request)> data;
  std::function<Recipes(const std::string& network)> recipes;
  // Names of others for the tensors of a network, as rules of core/files/import.h; by network.
  std::map<std::string, std::vector<std::string>> import_rules = {};
  // Reads a file of weights for a network, which starts as `untrained`; null:
  // tessera::read_weights.
  std::function<TensorMap(const std::filesystem::path& file, const nn::Network& network,
                          const State& untrained)>
      read_weights = nullptr;
  std::vector<OwnVerb> verbs = {};
  std::optional<Story> story;
};

// main() of an application.
int run_benchmark(int argc, char** argv, const Benchmark& benchmark);

}  // namespace tessera::apps
