#include "experiment/task.h"

#include <algorithm>

#include "core/words.h"
#include "datasets/prefetch.h"
#include "nn/raw_input.h"

namespace tessera::experiment {

namespace {

class Joined final : public BatchSource {
 public:
  explicit Joined(std::vector<TestSet> parts) : parts_(std::move(parts)) {
    for (const TestSet& part : parts_) {
      std::vector<Field> own = part.source->fields();
      std::erase_if(own, [](const Field& field) { return field.name == kIndexField; });
      if (fields_.empty()) fields_ = own;
      check(part.source->lanes() == 0, part.source->name(),
            " consists of streams, which cannot be joined with others");
      check(own == fields_, part.source->name(), " and ", parts_.front().source->name(),
            " have other fields: ", listed(own), " and ", listed(fields_));
      samples_ += part.source->samples();
    }
    std::vector<std::string> names;
    for (const TestSet& part : parts_) names.push_back(part.source->name());
    name_ = listed(names, " and ");
  }
  std::string name() const override { return name_; }
  std::int64_t samples() const override { return samples_; }
  std::vector<Field> fields() const override { return fields_; }
  void fill(std::int64_t epoch, std::int64_t first, TensorMap& batch) const override {
    const std::int64_t wanted = batch_size(batch, fields_, name_);
    check(first >= 0 && first + wanted <= samples_, name_, ": expected samples within ", samples_,
          ", got ", first, " to ", first + wanted);
    std::int64_t begin = 0, done = 0;
    for (const TestSet& part : parts_) {
      const std::int64_t n = part.source->samples(), from = first + done - begin;
      begin += n;
      const std::int64_t count = std::min(n - from, wanted - done);
      if (count <= 0) continue;
      TensorMap rows = slice(batch, done, count);
      part.source->fill(epoch, from, rows);
      done += count;
    }
  }

 private:
  std::vector<TestSet> parts_;
  std::string name_;
  std::vector<Field> fields_;
  std::int64_t samples_ = 0;
};

}  // namespace

std::string measured_on(const Config& config) {
  return config.contains(kValidation) ? kValidation : "test";
}

std::string text(const Network& network) {
  std::string out = network.settings.at("network");
  for (const auto& [key, value] : network.settings) {
    // A setting of several lines is a whole file.
    if (key != "network")
      out += ", " + key + (value.find('\n') == value.npos ? " " + value : std::string());
  }
  return out;
}

Task make_task(Data data, Network network) {
  Task task;
  task.data = std::move(data);
  task.network = std::move(network);
  task.settings = task.data.settings;
  for (const auto& [key, value] : task.network.settings) task.settings[key] = value;
  std::vector<TestSet> unseen;
  for (const TestSet& test : task.data.tests) {
    if (!test.seen) unseen.push_back(test);
  }
  task.test = joined(unseen);
  return task;
}

nn::Trainer make_trainer(const Task& task, const nn::TrainerOptions& options) {
  return nn::Trainer(task.network.network, task.data.task, options);
}

std::shared_ptr<const BatchSource> training_data(const Task& task, std::uint64_t seed,
                                                 const std::string& augment, std::int64_t batch) {
  check(task.data.train != nullptr, task.data.text, ": there is nothing to train on");
  std::shared_ptr<const BatchSource> out = task.data.train(seed, augment, batch);
  if (task.data.in_memory && augment == "none") return out;
  return std::make_shared<datasets::Prefetch>(std::move(out));
}

std::shared_ptr<const BatchSource> joined(const std::vector<TestSet>& parts) {
  return parts.size() == 1 ? parts.front().source : std::make_shared<const Joined>(parts);
}

std::vector<Field> fields_of(const Graph& graph, const std::string& file) {
  std::vector<Field> out;
  const auto carried = carried_inputs(graph);
  for (const Node* node : graph.inputs()) {
    if (std::ranges::find(carried, node) != carried.end()) continue;
    const TensorType& type = node->types()[0];
    if (type.shape.rank() < 1 || !type.shape[0].is_symbolic()) continue;
    const auto& dims = type.shape.dims();
    const bool raw = node->name() == nn::kRawInputName;
    out.push_back({raw ? std::string(nn::kInputName) : node->name(), type.dtype,
                   Shape(std::vector<Dim>(dims.begin() + 1, dims.end()))});
  }
  check(!out.empty(), file, ": has no input of a batch of samples");
  return out;
}

void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task, const std::set<std::string>& may_differ) {
  for (const auto& [key, value] : task) {
    if (may_differ.contains(key)) continue;
    const auto found = model.find(key);
    if (key == kValidation && value != kOwnValidation) {  // those have trained nothing
      check(!model.contains(kImported), "--validation ", value, ": ", file,
            " has its weights from another program, which may have trained them on any samples");
      check(found != model.end(), file,
            " was made without --validation: the samples held out now may have trained it");
    }
    if (found == model.end() || found->second == value) continue;
    const char* why = "";
    if (key == "preprocess_sha256") {
      why = "; pixels are prepared by the training images, which are others here";
    } else if (key == "vocabulary_sha256") {
      why = "; words have other numbers here";
    }
    fail(file, " was made with ", key, " ", found->second, ", this run has ", value, why);
  }
}

}  // namespace tessera::experiment
