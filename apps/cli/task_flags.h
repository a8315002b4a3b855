// The flags that choose a network and its data.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/cli/benchmark.h"
#include "core/model.h"
#include "experiment/activation_flags.h"

namespace tessera::apps {

// --net and the benchmark's own choices of a network.
class NetworkFlags {
 public:
  // `name` "": the benchmark's first network.
  explicit NetworkFlags(const Benchmark& benchmark, const std::string& name = "");
  NetworkFlags(const NetworkFlags&) = delete;

  void add_flags(FlagList& options);
  // --PREFIXactivation-bits and -at: a network that is trained with quantized activations.
  void add_activation_flags(FlagList& options, const std::string& prefix);
  void validate() const;  // throws Error naming the flag
  // The network of a saved model instead, by its settings. Throws Error when it is not one of this
  // benchmark, or not what the flags say. `trains`: it is trained further, for which flags may
  // quantize activations that were f32.
  void take(const std::map<std::string, std::string>& settings, const std::string& file,
            bool trains = false);

  // The network that `args` name by --net, or by the model file of --from: its recipes are the
  // defaults of other flags, so it must be known before those are read. Throws Error.
  static std::string peek(const Benchmark& benchmark, const std::vector<std::string>& args);

  const std::string& name() const { return asked_.empty() ? name_ : asked_; }
  // The task where no data says more. Throws Error for a network of its own graph that is no
  // classifier ("x" to "logits").
  std::shared_ptr<const nn::Task> task() const;
  // What the network reads, where no data says more.
  std::vector<Field> inputs() const;
  Network build(const nn::Task& task) const;
  // The model of a file, whose settings were taken, on the samples of a task: the same network
  // where they are of another shape than those it was saved for (the windows of a text). Throws
  // Error, naming the file, where that cannot be.
  Model reading(Model model, const std::string& file, const nn::Task& task) const;

 private:
  const Benchmark& benchmark_;
  std::string name_;  // where --net says nothing
  // A model that is its network's source (kOwnGraph), and its file.
  std::shared_ptr<const nn::Network> own_;
  std::vector<Field> own_inputs_;
  std::int64_t own_classes_ = 0;  // of an output "logits"; 0: there is none
  std::string asked_;             // by --net
  Config choices_;
  ActivationFlags activations_;
  std::string activation_prefix_;
};

// --data and the benchmark's own choices of it.
class DataFlags {
 public:
  explicit DataFlags(const Benchmark& benchmark);
  DataFlags(const DataFlags&) = delete;

  void add_flags(FlagList& options);
  // --validation, for verbs that train, or measure what was trained.
  void add_validation_flag(FlagList& options);
  void validate() const;
  // What runs or trains a model further: its settings, and what is attached to it.
  void take(const Model& model);
  // Choices that a model's settings name count more than the flags' defaults. What a network from
  // elsewhere (kImported) may have been trained on is marked as seen.
  void take(const std::map<std::string, std::string>& settings);
  // Likewise the samples that were held out when the model was made.
  void take_validation(const std::map<std::string, std::string>& settings);
  // Throws Error, naming the flag, when the data has not what they ask for, and for samples to hold
  // out of a raw model's data.
  // `raw`: for a model that carries its preprocessing (DataRequest::raw), on the test images.
  Data load(const std::vector<Field>& inputs, bool raw = false) const;
  // What load() asks the application for.
  DataRequest request(const std::vector<Field>& inputs, bool raw = false) const;

  std::string from;  // empty: TESSERA_DATA, or the built-in set

 private:
  const Benchmark& benchmark_;
  Config choices_;
  std::map<std::string, std::string> attached_;  // to the model
  std::string validation_;                       // "": nothing is held out
  bool imported_ = false;
};

// The samples held out of `samples` that train: a number, or a share below 1 of them ("5000",
// "0.1"). Throws Error, naming the flag, for other text, and where nothing would be left of either.
std::int64_t parse_validation(const std::string& text, std::int64_t samples);

}  // namespace tessera::apps
