// coco: object detectors on COCO and the built-in pictures, trained, compressed, and run from their
// codebooks.
#include <charconv>

#include "apps/coco/detect.h"
#include "apps/coco/detection_data.h"
#include "core/files/atomic_file.h"
#include "core/files/import.h"
#include "models/darknet.h"
#include "models/detector.h"
#include "nn/detection_task.h"

namespace tessera::apps {

namespace {

constexpr const char *kDarknet = "darknet", *kSize = "size", *kCfg = "cfg";
constexpr std::int64_t kMostSize = 2048, kMostCfg = 1 << 20;

std::vector<std::string> network_names() {
  std::vector<std::string> out;
  for (const auto& one : models::detectors()) out.push_back(one.name);
  return out;
}

// Of a file's name, or of the text itself, which models keep.
std::string cfg_text(const std::string& value) {
  return value.find('\n') == value.npos ? read_file(value, kMostCfg) : value;
}

models::Darknet darknet(const Config& choices, std::string& cfg) {
  const std::string& value = choices.at(kCfg);
  check(!value.empty(), "--net ", kDarknet, ": --cfg FILE says what its layers are");
  cfg = cfg_text(value);
  return models::Darknet::parse(cfg, cfg == value ? "the model's cfg" : value);
}

models::DetectorOptions options_of(const std::string& name, const Config& choices) {
  models::DetectorOptions out = models::detector(name).options;
  if (const std::string& text = choices.at(kSize); !text.empty()) {
    const std::int64_t side = integer_list(text, cat("--", kSize), 1, kMostSize).front();
    out.sample = {3, side, side};
  }
  return out;
}

std::shared_ptr<const nn::Task> task(const std::string& name, const Config& choices) {
  constexpr std::int64_t kUsualObjects = 8;
  if (name == kDarknet) {
    std::string cfg;
    const models::Darknet net = darknet(choices, cfg);
    return std::make_shared<nn::Detection>(net.sample(), net.classes(), kUsualObjects);
  }
  const models::DetectorOptions options = options_of(name, choices);
  return std::make_shared<nn::Detection>(options.sample, options.kinds, kUsualObjects);
}

Network network(const std::string& name, const nn::Task& task, const Config& choices) {
  const std::vector<Field> inputs = task.inputs(), targets = task.targets();
  const Field *x = find_field(inputs, "x"), *kinds = find_field(targets, "kinds");
  check(x != nullptr && kinds != nullptr, "detectors find objects; the task is ", task.name());
  Config settings = {{"network", name}};
  if (name == kDarknet) {
    std::string& cfg = settings[kCfg];
    auto net = std::make_shared<models::Darknet>(darknet(choices, cfg));
    check(net->classes() == kinds->below, "the network of --", kCfg, " knows ", net->classes(),
          " categories, the data has ", kinds->below);
    return {std::move(net), std::move(settings)};
  }
  models::DetectorOptions options = options_of(name, choices);
  options.sample = x->sample;
  options.kinds = kinds->below;
  if (const std::string& size = choices.at(kSize); !size.empty()) settings[kSize] = size;
  return {std::make_shared<models::Detector>(std::move(options)), std::move(settings)};
}

// Also darknet's own files, which hold what is trained and nothing else.
TensorMap weights(const std::filesystem::path& file, const nn::Network& network,
                  const State& untrained) {
  const auto* net = dynamic_cast<const models::Darknet*>(&network);
  if (net == nullptr || file.extension() != ".weights") return read_weights(file);
  TensorMap out;
  for (const auto& [name, entry] : untrained.entries()) {
    if (name.ends_with(".cell") || name.ends_with(".step") || name.ends_with(".anchor"))
      out.emplace(name, entry.tensor);
  }
  const State read = net->read_weights(file);
  for (const auto& [name, entry] : read.entries()) out.insert_or_assign(name, entry.tensor);
  return out;
}

Recipes recipes(const std::string& name) {
  Recipes out;
  TrainRecipe& train = out.train;
  train.epochs = 26;
  train.batch = 16;
  train.optimizer.name = "adamw";
  train.optimizer.weight_decay = 0.02;
  train.optimizer.clip_norm = 5;
  train.lr = 0.0015;
  train.lr_final = 0.01;
  train.warmup = 0.05;
  train.augment = "usual";
  CompressRecipe& compress = out.compress;
  compress.batch = train.batch;
  compress.optimizer = train.optimizer;
  compress.augment = "usual";
  compress.policies = "detector-8";
  // There is a prediction for every place, of which a memory keeps none.
  compress.methods.set("distill", "teacher");
  compress.methods.set({{"mu", 1e-3},
                        {"mu-growth", 1.7},
                        {"lc-steps", 12},
                        {"lc-epochs", 1},
                        {"first-epochs", 1},
                        {"lr", 5e-4},
                        {"lr-decay", 0.9},
                        {"lr-fall", 1},
                        {"lc-finish", 0},
                        {"momentum-reset", true},
                        {"train-lr", 3e-4},
                        {"train-epochs", 6}});
  if (name == kDarknet) compress.policies = "first-last-8";  // its heads have no names
  return out;
}

Benchmark coco() {
  Benchmark out;
  out.name = "coco";
  out.about = "Object detectors on COCO and sets kept like it";
  out.data_help = kDetectionDataHelp;
  out.calibration_help = "not offered: pictures without boxes";
  out.networks = network_names();
  out.networks.push_back(kDarknet);
  out.network_choices = {
      {kSize, "sides of a sample in pixels (default: the network's)", {}, network_names()},
      {kCfg, "darknet's file of the layers", {}, {kDarknet}, cfg_text}};
  out.data_choices = detection_choices();
  out.task = task;
  out.network = network;
  out.data = detection_data;
  out.recipes = recipes;
  out.read_weights = weights;
  out.verbs = {{"detect", "boxes of what a model finds in pictures", detect_verb},
               {"score", "average precision of a file of results", score_verb}};
  return out;
}

}  // namespace

}  // namespace tessera::apps

int main(int argc, char** argv) {
  return tessera::apps::run_benchmark(argc, argv, tessera::apps::coco());
}
