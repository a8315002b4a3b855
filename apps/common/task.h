// A network on its data: what the verbs work on, and the flags that choose both.
#pragma once

#include "apps/common/activation_flags.h"
#include "apps/common/benchmark.h"
#include "core/model.h"
#include "quant/calibrate/calibration.h"

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
  // The task where no data says more.
  std::shared_ptr<const nn::Task> task() const { return benchmark_.task(name()); }
  Network build(const nn::Task& task) const;

 private:
  const Benchmark& benchmark_;
  std::string name_;   // where --net says nothing
  std::string asked_;  // by --net
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
  // Choices that a model's settings name count more than the flags' defaults. What a network from
  // elsewhere (kImported) may have been trained on is marked as seen.
  void take(const std::map<std::string, std::string>& settings);
  // Likewise the samples that were held out when the model was made.
  void take_validation(const std::map<std::string, std::string>& settings);
  // Throws Error, naming the flag, when the data has not what they ask for, and for samples to hold
  // out of a raw model's data.
  // `raw`: for a model that carries its preprocessing (DataRequest::raw), on the test images.
  Data load(const std::vector<Field>& inputs, bool raw = false) const;

  std::string from;  // empty: TESSERA_DATA, or the built-in set

 private:
  const Benchmark& benchmark_;
  Config choices_;
  std::string validation_;  // "": nothing is held out
  bool imported_ = false;
};

// The samples held out of `samples` that train: a number, or a share below 1 of them ("5000",
// "0.1"). Throws Error, naming the flag, for other text, and where nothing would be left of either.
std::int64_t parse_validation(const std::string& text, std::int64_t samples);

// The setting of a model that says how many samples were held out when it was made.
inline constexpr const char* kValidation = "validation";
// "validation" or "test": what a run with this configuration is measured on.
std::string measured_on(const Config& config);

// The setting of a model whose weights another program trained; what is compressed from it keeps
// it.
inline constexpr const char* kImported = "imported";

// "lenet300, activation tanh"
std::string text(const Network& network);

struct Task {
  Data data;
  Network network;
  Config settings;  // of both
  // All that is measured on and unseen, one after another: the test sets, or the samples held out
  // of training.
  std::shared_ptr<const BatchSource> test;
  // --calibration's images, for what looks at samples without training on them; not set where
  // training samples do.
  std::shared_ptr<const quant::CalibrationSet> calibration;
  std::string calibration_sha256;  // of its pixels as the network sees them
};

Task make_task(Data data, Network network);

// What was passed over in the data until now.
inline std::vector<std::string> problems(const Data& data) {
  return data.problems ? data.problems() : std::vector<std::string>{};
}

// The training batches. Throws Error when the data has none.
std::shared_ptr<const BatchSource> training_data(const Task& task, std::uint64_t seed,
                                                 const std::string& augment);

// The fields that a graph reads, without the batch axis; "raw" is the field "x" as it is stored.
// Throws Error, naming the file, for a graph that reads none.
std::vector<Field> fields_of(const Graph& graph, const std::string& file);

// The parts one after another, in stored order. They must agree in sample and classes.
std::shared_ptr<const BatchSource> joined(const std::vector<TestSet>& parts);

// Throws Error when a model was made for other data: settings that both name must be equal. What is
// held out of this run's training samples must have been held out of the model's, too, of which
// nobody knows for weights from elsewhere (kImported).
void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task);

}  // namespace tessera::apps
