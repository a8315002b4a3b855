// A network on its data: what experiments work on.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/batch_source.h"
#include "core/files/checkpoint.h"
#include "core/graph.h"
#include "datasets/preprocess.h"
#include "nn/network.h"
#include "nn/task.h"
#include "nn/trainer.h"
#include "quant/calibrate/calibration.h"

namespace tessera::experiment {

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
  Config choices;             // value of each choice that the application offers
  std::map<std::string, std::string> attached = {};  // to the model that is run, or trained further
  // For models that carry their preprocessing: the test images alone, as they are stored. Sets that
  // cannot do without their training images may read them.
  bool raw = false;
};

struct Data {
  std::string text;  // for people: "MNIST from data/mnist (60000 training and 10000 test images)"
  std::shared_ptr<const nn::Task> task;  // what is learned from it
  // What data and preprocessing are; goes into model files, and must be the same where a model is
  // measured, but for those of `may_differ`.
  Config settings;
  std::set<std::string> may_differ = {};
  // What models of this data need besides (Model::attached).
  std::map<std::string, std::string> attached = {};
  // What the samples went through; absent where that is not a scale and a shift.
  std::optional<datasets::Preprocess> preprocess = {};
  // Training samples in the order of a seed, with these augmentations (none when empty); a text is
  // cut into `batch` streams. Not set where there is nothing to train on. Throws Error for an
  // augmentation it does not know.
  std::function<std::shared_ptr<const BatchSource>(std::uint64_t seed, const std::string& augment,
                                                   std::int64_t batch)>
      train;
  // Whether samples need no decoding: those without augmentation are not worth a thread that makes
  // them ahead.
  bool in_memory = true;
  std::vector<TestSet> tests;  // at least one
  // What the data set itself sets aside to make choices by, where it does.
  std::vector<TestSet> validation = {};
  std::string measured_on = "test";  // or "validation": what `tests` are
  // Images without labels in a folder, prepared as the others are, for what calibrates; their
  // labels are 0. Not set where there is no such form.
  std::function<std::shared_ptr<const BatchSource>(const std::string& folder)> unlabelled;
  // What was wrong with the data read until now and passed over, a line each. May be unset.
  std::function<std::vector<std::string>()> problems;
};

// The setting of a model that says how many samples were held out when it was made.
inline constexpr const char* kValidation = "validation";
// Its value where they are the data set's own validation samples (Data::validation).
inline constexpr const char* kOwnValidation = "own";
// "validation" or "test": what a run with this configuration is measured on.
std::string measured_on(const Config& config);

// The setting of a model whose graph is its network: it was not built by an application, but read
// from another program's file (`tessera import`), and is trained and compressed as it stands.
inline constexpr const char* kOwnGraph = "own_graph";

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
// The network to be trained, with weights as the seed of the options makes them.
nn::Trainer make_trainer(const Task& task, const nn::TrainerOptions& options = {});

// What was passed over in the data until now.
inline std::vector<std::string> problems(const Data& data) {
  return data.problems ? data.problems() : std::vector<std::string>{};
}

// The samples that train in batches of this size. Throws Error when the data has none.
std::shared_ptr<const BatchSource> training_data(const Task& task, std::uint64_t seed,
                                                 const std::string& augment, std::int64_t batch);

// The fields that a graph reads, without the batch axis and what it carries; "raw" is the field "x"
// as it is stored. Throws Error, naming the file, for a graph that reads none.
std::vector<Field> fields_of(const Graph& graph, const std::string& file);

// The parts one after another, in stored order. They must agree in sample and classes.
std::shared_ptr<const BatchSource> joined(const std::vector<TestSet>& parts);

// Throws Error when a model was made for other data: settings that both name, but for
// `may_differ`, must be equal. What is held out of this run's training samples must have been held
// out of the model's, too, of which nobody knows for weights from elsewhere (kImported).
void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task, const std::set<std::string>& may_differ = {});

}  // namespace tessera::experiment
