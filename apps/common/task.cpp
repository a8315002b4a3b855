#include "apps/common/task.h"

#include <algorithm>
#include <cstdlib>

#include "core/files/model.h"
#include "ops/op_list.h"

namespace tessera::apps {

namespace {

std::string listed(const std::vector<std::string>& words, const std::string& last = ", ") {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    out += (i == 0 ? "" : i + 1 == words.size() ? last : ", ") + words[i];
  }
  return out;
}

bool among(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A choice that was not made stays empty, so that a model's settings may make it.
void add_choices(po::options_description& options, const std::vector<Choice>& choices,
                 Config& values) {
  for (const Choice& choice : choices) {
    std::string about = choice.about;
    if (!choice.values.empty()) {
      about += cat(": ", listed(choice.values, " or "), " (default ", choice.values[0], ")");
    }
    options.add_options()(choice.name.c_str(), text_flag(values[choice.name]), about.c_str());
  }
}

bool allows(const Choice& choice, const std::string& value) {
  return choice.values.empty() || among(choice.values, value);
}

void validate_choices(const std::vector<Choice>& choices, const Config& values) {
  for (const Choice& choice : choices) {
    const std::string& value = values.at(choice.name);
    check(value.empty() || allows(choice, value), "--", choice.name, " must be ",
          listed(choice.values, " or "), ", got '", value, "'");
  }
}

Config made(const std::vector<Choice>& choices, const Config& values) {
  Config out;
  for (const Choice& choice : choices) {
    const std::string& value = values.at(choice.name);
    out[choice.name] = !value.empty() || choice.values.empty() ? value : choice.values[0];
  }
  return out;
}

std::string network_of(const Benchmark& benchmark, const std::map<std::string, std::string>& model,
                       const std::string& file) {
  const auto found = model.find("network");
  check(found != model.end(), file, ": its settings name no network: not a model of ",
        benchmark.name);
  check(among(benchmark.networks, found->second), file, " holds the network '", found->second,
        "'; ", benchmark.name, " knows ", listed(benchmark.networks));
  return found->second;
}

class Joined final : public BatchSource {
 public:
  explicit Joined(std::vector<TestSet> parts) : parts_(std::move(parts)) {
    for (const TestSet& part : parts_) {
      check(part.source->sample_shape() == sample_shape() && part.source->classes() == classes(),
            part.source->name(), " and ", parts_.front().source->name(),
            " have other samples or classes");
      samples_ += part.source->samples();
    }
  }
  std::string name() const override {
    std::vector<std::string> names;
    for (const TestSet& part : parts_) names.push_back(part.source->name());
    return listed(names, " and ");
  }
  std::int64_t samples() const override { return samples_; }
  std::int64_t classes() const override { return parts_.front().source->classes(); }
  Shape sample_shape() const override { return parts_.front().source->sample_shape(); }
  void fill(std::int64_t epoch, std::int64_t first, Tensor& x, Tensor& y) const override {
    std::int64_t begin = 0, done = 0;
    for (const TestSet& part : parts_) {
      const std::int64_t n = part.source->samples(), from = first + done - begin;
      begin += n;
      const std::int64_t count = std::min(n - from, y.numel() - done);
      if (count <= 0) continue;
      Tensor xs = x.slice(done, done + count), ys = y.slice(done, done + count);
      part.source->fill(epoch, from, xs, ys);
      done += count;
    }
  }

 private:
  std::vector<TestSet> parts_;
  std::int64_t samples_ = 0;
};

}  // namespace

NetworkFlags::NetworkFlags(const Benchmark& benchmark, const std::string& name)
    : benchmark_(benchmark), name_(name.empty() ? benchmark.networks.front() : name) {
  for (const Choice& choice : benchmark.network_choices) choices_[choice.name] = "";
}

void NetworkFlags::add_flags(po::options_description& options) {
  options.add_options()("net", text_flag(name_, "NAME"), listed(benchmark_.networks).c_str());
  add_choices(options, benchmark_.network_choices, choices_);
}

void NetworkFlags::validate() const {
  check(among(benchmark_.networks, name_), "--net must be ", listed(benchmark_.networks, " or "),
        ", got '", name_, "'");
  validate_choices(benchmark_.network_choices, choices_);
}

void NetworkFlags::take(const std::map<std::string, std::string>& settings,
                        const std::string& file) {
  name_ = network_of(benchmark_, settings, file);
  for (auto& [name, value] : choices_) {
    if (const auto found = settings.find(name); found != settings.end()) value = found->second;
  }
  validate();
}

std::string NetworkFlags::peek(const Benchmark& benchmark, const std::vector<std::string>& args) {
  const std::string net = peek_flag(args, "net"), from = peek_flag(args, "from");
  if (!from.empty()) {
    const std::string name = network_of(benchmark, load(from, ops::standard_ops()).settings, from);
    check(net.empty() || net == name, "--net ", net, ": ", from, " holds the network '", name, "'");
    return name;
  }
  return among(benchmark.networks, net) ? net : benchmark.networks.front();
}

Network NetworkFlags::build(std::int64_t classes) const {
  return benchmark_.network(name_, classes, made(benchmark_.network_choices, choices_));
}

DataFlags::DataFlags(const Benchmark& benchmark) : benchmark_(benchmark) {
  for (const Choice& choice : benchmark.data_choices) choices_[choice.name] = "";
}

void DataFlags::add_flags(po::options_description& options) {
  options.add_options()("data", text_flag(from, "DIR"), benchmark_.data_help.c_str());
  add_choices(options, benchmark_.data_choices, choices_);
}

void DataFlags::validate() const {
  validate_choices(benchmark_.data_choices, choices_);
}

void DataFlags::take(const std::map<std::string, std::string>& settings) {
  for (const Choice& choice : benchmark_.data_choices) {
    const auto found = settings.find(choice.name);
    std::string& value = choices_[choice.name];
    if (value.empty() && found != settings.end() && allows(choice, found->second)) {
      value = found->second;
    }
  }
}

Data DataFlags::load(const Shape& sample) const {
  const char* environment = std::getenv("TESSERA_DATA");
  const std::string folder = from.empty() && environment ? environment : from;
  return benchmark_.data({folder, sample, made(benchmark_.data_choices, choices_)});
}

std::string text(const Network& network) {
  std::string out = network.settings.at("network");
  for (const auto& [key, value] : network.settings) {
    if (key != "network") out += ", " + key + " " + value;
  }
  return out;
}

Task make_task(Data data, Network network) {
  Task task{std::move(data), std::move(network), {}, nullptr};
  task.settings = task.data.settings;
  for (const auto& [key, value] : task.network.settings) task.settings[key] = value;
  task.test = joined(task.data.tests);
  return task;
}

std::shared_ptr<const BatchSource> training_data(const Task& task, std::uint64_t seed,
                                                 const std::string& augment) {
  check(task.data.train != nullptr, task.data.text, ": there is nothing to train on");
  return task.data.train(seed, augment);
}

std::shared_ptr<const BatchSource> joined(const std::vector<TestSet>& parts) {
  return parts.size() == 1 ? parts.front().source : std::make_shared<const Joined>(parts);
}

Shape sample_of(const Graph& graph, const std::string& file) {
  for (const Node* node : graph.inputs()) {
    if (node->name() != "x" || node->types()[0].shape.rank() < 2) continue;
    const auto& dims = node->types()[0].shape.dims();
    return Shape(std::vector<Dim>(dims.begin() + 1, dims.end()));
  }
  fail(file, ": has no input 'x' of a batch of samples: no classifier");
}

void require_same_settings(const std::string& file, const std::map<std::string, std::string>& model,
                           const Config& task) {
  for (const auto& [key, value] : task) {
    const auto found = model.find(key);
    if (found == model.end() || found->second == value) continue;
    const bool hash = key.ends_with("_sha256");
    fail(file, " was made with ", key, " ", found->second, ", this run has ", value,
         hash ? "; pixels are prepared by the training images, which are others here" : "");
  }
}

}  // namespace tessera::apps
