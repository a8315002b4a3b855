// A network on its data: what the verbs work on, and the flags that choose both.
#pragma once

#include "apps/common/benchmark.h"
#include "core/model.h"

namespace tessera::apps {

// --net and the benchmark's own choices of a network.
class NetworkFlags {
 public:
  // `name` "": the benchmark's first network.
  explicit NetworkFlags(const Benchmark& benchmark, const std::string& name = "");
  NetworkFlags(const NetworkFlags&) = delete;

  void add_flags(po::options_description& options);
  void validate() const;  // throws Error naming the flag
  // The network of a saved model instead, by its settings. Throws Error when it is not one of this
  // benchmark, or not the one that --net named.
  void take(const std::map<std::string, std::string>& settings, const std::string& file);

  // The network that `args` name by --net, or by the model file of --from: its recipes are the
  // defaults of other flags, so it must be known before those are read. Throws Error.
  static std::string peek(const Benchmark& benchmark, const std::vector<std::string>& args);

  const std::string& name() const { return name_; }
  Shape sample() const { return benchmark_.sample(name_); }
  Network build(std::int64_t classes) const;

 private:
  const Benchmark& benchmark_;
  std::string name_;
  Config choices_;
};

// --data and the benchmark's own choices of it.
class DataFlags {
 public:
  explicit DataFlags(const Benchmark& benchmark);
  DataFlags(const DataFlags&) = delete;

  void add_flags(po::options_description& options);
  void validate() const;
  // Choices that a model's settings name count more than the flags' defaults.
  void take(const std::map<std::string, std::string>& settings);
  Data load(const Shape& sample) const;

  std::string from;  // empty: TESSERA_DATA, or the built-in set

 private:
  const Benchmark& benchmark_;
  Config choices_;
};

// "lenet300, activation tanh"
std::string text(const Network& network);

struct Task {
  Data data;
  Network network;
  Config settings;                          // of both
  std::shared_ptr<const BatchSource> test;  // all test sets, one after another
};

Task make_task(Data data, Network network);

// What was passed over in the data until now.
inline std::vector<std::string> problems(const Data& data) {
  return data.problems ? data.problems() : std::vector<std::string>{};
}

// The training batches. Throws Error when the data has none.
std::shared_ptr<const BatchSource> training_data(const Task& task, std::uint64_t seed,
                                                 const std::string& augment);

// Shape of one sample of the graph's input "x". Throws Error naming `file` where there is none.
Shape sample_of(const Graph& graph, const std::string& file);

// The parts one after another, in stored order. They must agree in sample and classes.
std::shared_ptr<const BatchSource> joined(const std::vector<TestSet>& parts);

// Throws Error when a model was made for other data: settings that both name must be equal.
void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task);

}  // namespace tessera::apps
