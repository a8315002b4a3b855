#include "apps/mnist/digits.h"

#include <cstdlib>

#include "core/files/sha256.h"
#include "datasets/mnist.h"
#include "datasets/synthetic_digits.h"

namespace tessera::apps {

namespace {

constexpr std::string_view kSynthetic = "synthetic";
constexpr std::int64_t kMostImages = 10'000'000;

// "synthetic", "synthetic:2000", "synthetic:2000:500"
datasets::SyntheticDigits parse_synthetic(const std::string& text) {
  datasets::SyntheticDigits options;
  std::string sizes = text.substr(kSynthetic.size());
  if (sizes.empty()) return options;
  check(sizes[0] == ':' && sizes.size() > 1, "--data '", text,
        "': expected synthetic, synthetic:TRAIN or synthetic:TRAIN:TEST");
  sizes = sizes.substr(1);
  for (char& c : sizes) c = c == ':' ? ',' : c;
  const auto numbers = integer_list(sizes, "--data synthetic: images", 1, kMostImages);
  check(numbers.size() <= 2, "--data '", text, "': expected synthetic:TRAIN:TEST");
  options.train = numbers[0];
  if (numbers.size() > 1) options.test = numbers[1];
  return options;
}

bool is_synthetic(const std::string& text) {
  return text == kSynthetic || text.starts_with(std::string(kSynthetic) + ":");
}

std::shared_ptr<const BatchSource> batches(const datasets::Dataset& data,
                                           const datasets::Preprocess& preprocess,
                                           std::uint64_t seed) {
  datasets::BatchOptions options;
  options.seed = seed;
  return std::make_shared<datasets::Batches>(data, preprocess, options);
}

}  // namespace

void DataFlags::add_flags(po::options_description& options) {
  options.add_options()("data", text_flag(data, "DIR"),
                        "folder with the four MNIST files; synthetic[:TRAIN[:TEST]]: the built-in "
                        "digits (default: TESSERA_DATA, or the built-in digits)");
}

Config Digits::settings() const {
  const Tensor& shift = preprocess.shift();
  return {
      {"data", split.train.name},
      {"preprocess", "unit-minus-train-mean"},
      {"preprocess_sha256", sha256_hex({shift.data(), static_cast<std::size_t>(shift.bytes())})}};
}

std::shared_ptr<const BatchSource> Digits::train(std::uint64_t seed) const {
  return batches(split.train, preprocess, seed);
}
std::shared_ptr<const BatchSource> Digits::test() const {
  return batches(split.test, preprocess, 0);
}

Digits load_digits(const DataFlags& flags) {
  std::string from = flags.data;
  const char* environment = std::getenv("TESSERA_DATA");
  if (from.empty() && environment) from = environment;
  const bool synthetic = from.empty() || is_synthetic(from);
  datasets::Split split = synthetic ? datasets::synthetic_digits(parse_synthetic(
                                          from.empty() ? std::string(kSynthetic) : from))
                                    : datasets::mnist(from);
  auto preprocess = datasets::Preprocess::minus_mean(split.train);
  const std::string source = synthetic ? "the built-in synthetic digits" : "MNIST in " + from;
  std::string text =
      cat(source, " (", split.train.size(), " training and ", split.test.size(), " test images)");
  return {std::move(text), std::move(split), std::move(preprocess)};
}

Task digits_task(const Digits& digits, models::Activation activation) {
  Task task;
  task.data = digits.text;
  task.network = std::make_shared<nn::Sequential>(models::lenet300(activation));
  task.sample = Shape{digits.split.train.pixels()};
  task.classes = digits.split.train.classes;
  task.train = [digits](std::uint64_t seed) { return digits.train(seed); };
  task.test = digits.test();
  task.settings = digits.settings();
  task.settings["network"] = "lenet300";
  task.settings["activation"] = models::name(activation);
  return task;
}

models::Activation activation_of(const std::map<std::string, std::string>& settings,
                                 const std::string& file) {
  const auto found = settings.find("activation");
  check(found != settings.end(), file, ": its settings name no activation: not a model of mnist");
  return models::parse_activation(found->second);
}

}  // namespace tessera::apps
