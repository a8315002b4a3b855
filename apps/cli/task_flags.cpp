#include "apps/cli/task_flags.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "apps/cli/parse.h"
#include "core/files/model.h"
#include "core/words.h"
#include "datasets/prefetch.h"
#include "datasets/subset.h"
#include "nn/classification.h"
#include "nn/graph_network.h"
#include "ops/op_list.h"
#include "quant/pack/decoded.h"
#include "quant/pack/reshaped.h"

namespace tessera::apps {

namespace {

constexpr std::int64_t kMostSamples = std::numeric_limits<std::int32_t>::max();

bool among(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A choice that was not made stays empty, so that a model's settings may make it.
void add_choices(FlagList& options, const std::vector<Choice>& choices, Config& values) {
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
          listed(choice.values, " or "), ", got '", value, "'", did_you_mean(value, choice.values));
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
  if (model.contains(kOwnGraph)) return found->second;
  check(among(benchmark.networks, found->second), file, " holds the network '", found->second,
        "'; ", benchmark.name, " knows ", listed(benchmark.networks));
  return found->second;
}

// Measures on samples that otherwise train, or on the data set's own validation samples, instead of
// the test sets.
void hold_out(Data& data, const std::string& validation) {
  data.measured_on = kValidation;
  data.settings[kValidation] = validation;
  if (validation == kOwnValidation) {
    check(!data.validation.empty(), "--validation ", kOwnValidation, ": ", data.text,
          ": the data has no validation samples of its own; say how many to hold out");
    data.tests = data.validation;
    return;
  }
  check(data.train != nullptr, "--validation ", validation, ": ", data.text,
        ": there is nothing to hold out of");
  const auto indexed = [](std::shared_ptr<const BatchSource> source) {
    auto out = std::dynamic_pointer_cast<const datasets::IndexedSource>(source);
    check(out != nullptr && source->lanes() == 0, "--validation: the samples of ", source->name(),
          " are pieces of streams, of which none can be held out; --validation ", kOwnValidation,
          " measures on the data's own validation samples");
    return out;
  };
  auto all = indexed(data.train(0, "none", 1));
  const std::int64_t held = parse_validation(validation, all->samples());
  auto parts = datasets::hold_out(all->samples(), held);
  data.text += cat(", ", held, " of the training samples held out for validation");
  data.settings[kValidation] = std::to_string(held);
  std::shared_ptr<const BatchSource> samples = std::make_shared<datasets::Subset>(
      all, std::move(parts.held), datasets::SubsetOptions{.shuffle = false},
      cat(all->name(), ", held out"));
  if (!data.in_memory) samples = std::make_shared<datasets::Prefetch>(std::move(samples));
  data.validation = {{kValidation, std::move(samples)}};
  data.tests = data.validation;
  data.train = [train = std::move(data.train), rest = std::move(parts.rest), indexed](
                   std::uint64_t seed, const std::string& augment, std::int64_t batch) {
    return std::make_shared<datasets::Subset>(indexed(train(seed, augment, batch)), rest,
                                              datasets::SubsetOptions{.seed = seed});
  };
}

}  // namespace

NetworkFlags::NetworkFlags(const Benchmark& benchmark, const std::string& name)
    : benchmark_(benchmark), name_(name.empty() ? benchmark.networks.front() : name) {
  for (const Choice& choice : benchmark.network_choices) choices_[choice.name] = "";
}

void NetworkFlags::add_flags(FlagList& options) {
  const std::string about = cat(listed(benchmark_.networks), " (default ", name_, ")");
  options.add_options()("net", text_flag(asked_, "NAME"), about.c_str());
  add_choices(options, benchmark_.network_choices, choices_);
}

void NetworkFlags::add_activation_flags(FlagList& options, const std::string& prefix) {
  activation_prefix_ = prefix;
  activations_.add_flags(options, prefix);
}

void NetworkFlags::validate() const {
  activations_.validate(activation_prefix_);
  if (!own_) require_known("--net", name(), benchmark_.networks);
  validate_choices(benchmark_.network_choices, choices_);
  for (const Choice& choice : benchmark_.network_choices) {
    check(choices_.at(choice.name).empty() || choice.networks.empty() ||
              among(choice.networks, name()),
          "--", choice.name, " is of ", listed(choice.networks, " and "), ", not of ", name());
  }
}

void NetworkFlags::take(const std::map<std::string, std::string>& settings, const std::string& file,
                        bool trains) {
  name_ = network_of(benchmark_, settings, file);
  if (settings.contains(kOwnGraph)) {
    const Model model = load(file, ops::standard_ops());
    own_inputs_ = fields_of(model.graph, file);
    for (const auto& [output, value] : model.graph.outputs())
      if (output == "logits" && value.shape().rank() == 2) own_classes_ = value.shape()[1].value();
    own_ = naming(file, [&] { return std::make_shared<nn::GraphNetwork>(quant::decoded(model)); });
  }
  check(asked_.empty() || asked_ == name_, "--net ", asked_, ": ", file, " holds the network '",
        name_, "'");
  for (const Choice& choice : benchmark_.network_choices) {
    std::string& value = choices_[choice.name];
    const auto found = settings.find(choice.name);
    if (found == settings.end()) continue;
    const std::string& own = found->second;
    const bool whole_text = own.find('\n') != own.npos;
    check(value.empty() || own == (choice.kept ? choice.kept(value) : value), "--", choice.name,
          " ", value, ": ", file, " holds a network of ", whole_text ? "another " : "", choice.name,
          whole_text ? "" : " " + own);
    value = own;
  }
  activations_.take(settings, file, activation_prefix_, trains);
  naming(file, [&] { validate(); });
}

std::string NetworkFlags::peek(const Benchmark& benchmark, const std::vector<std::string>& args) {
  if (asks_for_help(args)) return benchmark.networks.front();
  const std::string net = peek_flag(args, "net"), from = peek_flag(args, "from");
  if (!from.empty()) {
    const std::string name = network_of(benchmark, load(from, ops::standard_ops()).settings, from);
    check(net.empty() || net == name, "--net ", net, ": ", from, " holds the network '", name, "'");
    return name;
  }
  return among(benchmark.networks, net) ? net : benchmark.networks.front();
}

std::shared_ptr<const nn::Task> NetworkFlags::task() const {
  if (!own_) return benchmark_.task(name(), made(benchmark_.network_choices, choices_));
  check(own_inputs_.size() == 1 && own_inputs_[0].name == "x" && own_classes_ > 0, "'", name_,
        "' is no classifier of x by logits, so data must say what is learned");
  return std::make_shared<nn::Classification>(own_inputs_[0].sample, own_classes_);
}

std::vector<Field> NetworkFlags::inputs() const {
  if (own_) return own_inputs_;
  return task()->inputs();
}

Network NetworkFlags::build(const nn::Task& task) const {
  Network out = own_ ? Network{own_, {{"network", name_}, {kOwnGraph, "yes"}}}
                     : benchmark_.network(name(), task, made(benchmark_.network_choices, choices_));
  if (activations_.bits == 0) return out;
  out.network =
      std::make_shared<quant::QuantizedActivations>(std::move(out.network), activations_.options());
  out.settings.merge(activations_.settings());
  return out;
}

Model NetworkFlags::reading(Model model, const std::string& file, const nn::Task& task) const {
  const std::vector<Field> has = fields_of(model.graph, file), wanted = task.inputs();
  const bool same = std::ranges::all_of(has, [&](const Field& field) {
    const Field* other = find_field(wanted, field.name);
    return other != nullptr && other->sample == field.sample;
  });
  if (same) return model;
  return naming(file, [&] {
    const auto network = with_activations_of(model, build(task).network);
    return quant::reshaped(nn::inference_graph(*network, task), model);
  });
}

DataFlags::DataFlags(const Benchmark& benchmark) : benchmark_(benchmark) {
  for (const Choice& choice : benchmark.data_choices) choices_[choice.name] = "";
}

void DataFlags::add_flags(FlagList& options) {
  options.add_options()("data", text_flag(from, "DIR"), benchmark_.data_help.c_str());
  add_choices(options, benchmark_.data_choices, choices_);
}

void DataFlags::add_validation_flag(FlagList& options) {
  options.add_options()(kValidation, text_flag(validation_, "N|SHARE|own"),
                        "hold out so many of the training samples, or this share of them, and "
                        "measure on these, or on "
                        "the data's own validation samples; the test set is left alone");
}

void DataFlags::validate() const {
  if (!validation_.empty() && validation_ != kOwnValidation)
    parse_validation(validation_, kMostSamples);
  validate_choices(benchmark_.data_choices, choices_);
}

void DataFlags::take(const Model& model) {
  take(model.settings);
  attached_ = model.attached;
}

void DataFlags::take(const std::map<std::string, std::string>& settings) {
  imported_ = settings.contains(kImported);
  for (const Choice& choice : benchmark_.data_choices) {
    const auto found = settings.find(choice.name);
    std::string& value = choices_[choice.name];
    if (value.empty() && found != settings.end() && allows(choice, found->second)) {
      value = found->second;
    }
  }
}

void DataFlags::take_validation(const std::map<std::string, std::string>& settings) {
  const auto found = settings.find(kValidation);
  if (validation_.empty() && found != settings.end()) validation_ = found->second;
}

DataRequest DataFlags::request(const std::vector<Field>& inputs, bool raw) const {
  const char* environment = std::getenv("TESSERA_DATA");
  const std::string folder = from.empty() && environment ? environment : from;
  return {folder, inputs, made(benchmark_.data_choices, choices_), attached_, raw};
}

Data DataFlags::load(const std::vector<Field>& inputs, bool raw) const {
  check(validation_.empty() || !raw, "--validation ", validation_,
        ": a model that carries its preprocessing is measured on test images alone; the model it "
        "was exported from can be measured on what it held out");
  Data out = benchmark_.data(request(inputs, raw));
  if (!validation_.empty()) hold_out(out, validation_);
  for (TestSet& test : out.tests) test.seen = imported_ && test.held_out;
  return out;
}

std::int64_t parse_validation(const std::string& text, std::int64_t samples) {
  const char* end = text.data() + text.size();
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const bool share = value < 1;
  check(error == std::errc() && stop == end && value > 0 && value < kMostSamples &&
            (share || value == std::floor(value)),
        "--validation: expected a number of samples, a share below 1 or 'own', got '", text, "'");
  const double held = share ? std::round(value * static_cast<double>(samples)) : value;
  check(held >= 1 && held < static_cast<double>(samples), "--validation ", text, ": expected 1 to ",
        samples - 1, " of the ", samples, " training samples, got ", held);
  return static_cast<std::int64_t>(held);
}

}  // namespace tessera::apps
