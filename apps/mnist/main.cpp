// mnist: LeNet-300-100 and LeNet-5 on handwritten digits, trained, compressed, and run from their
// codebooks.
#include "apps/images/image_data.h"
#include "apps/images/zoo_network.h"
#include "core/files/sha256.h"
#include "datasets/mnist.h"
#include "datasets/synthetic_digits.h"

namespace tessera::apps {

namespace {

// The network sees x / 255 minus the mean training image. Model files name the mean by its SHA-256
// rather than carry it.
Data digits(const DataRequest& request) {
  const auto synthetic = built_in(request.from);
  datasets::SyntheticDigits options;
  if (synthetic && synthetic->train > 0) options.train = synthetic->train;
  if (synthetic && synthetic->test > 0) options.test = synthetic->test;
  const std::string source =
      synthetic ? "the built-in synthetic digits" : "MNIST in " + request.from;
  if (request.raw) {
    datasets::Dataset test =
        synthetic ? datasets::synthetic_digits(options).test : datasets::mnist_test(request.from);
    const auto preprocess = datasets::Preprocess::none(test.pixels());
    return image_data({.source = source,
                       .split = {{}, std::move(test)},
                       .preprocess = preprocess,
                       .settings = {}},
                      request);
  }
  datasets::Split split =
      synthetic ? datasets::synthetic_digits(options) : datasets::mnist(request.from);
  auto preprocess = datasets::Preprocess::minus_mean(split.train);
  const Tensor& shift = preprocess.shift();
  Config settings = {
      {"preprocess", "unit-minus-train-mean"},
      {"preprocess_sha256", sha256_hex({shift.data(), static_cast<std::size_t>(shift.bytes())})}};
  return image_data(
      {.source = source,
       .split = std::move(split),
       .preprocess = std::move(preprocess),
       .settings = std::move(settings),
       .unlabelled = [](const std::string& folder) { return datasets::mnist_images(folder); },
       .augment = {.pad = 2}},
      request);
}

Network network(const std::string& name, const nn::Task& task, const Config& choices) {
  if (name != "lenet300") return zoo_network(name, task, {});
  const std::string& activation = choices.at("activation");
  Network out = zoo_network(activation == "relu" ? "lenet300_relu" : name, task, {});
  out.settings = {{"network", name}, {"activation", activation}};
  return out;
}

Recipes recipes(const std::string& name) {
  Recipes out;
  TrainRecipe& train = out.train;
  train.epochs = 30;
  train.batch = 256;
  train.lr = 0.1;
  train.lr_final = 0.01;
  CompressRecipe& compress = out.compress;
  compress.methods.set({{"lc-steps", 30}, {"lc-epochs", 10}, {"first-epochs", 20}});
  compress.batch = 256;
  if (name == "lenet5") {
    train.epochs = 10;
    train.batch = compress.batch = 128;
    train.lr = 0.05;
    train.optimizer.weight_decay = compress.optimizer.weight_decay = 5e-4;
    compress.methods.set({{"lc-steps", 20}, {"lc-epochs", 2}, {"first-epochs", 4}});
  }
  // Compression trains at the rate that trained the reference.
  compress.methods.set({{"lr", train.lr}, {"train-lr", train.lr}});
  return out;
}

// Sized for two minutes on two cores.
Story story() {
  Story out;
  out.about =
      "trains a reference on the\nbuilt-in digits, compresses it to 1 and 2 bits a weight by DC, "
      "iDC and LC, saves, loads in a\nfresh process, and prints what came out";
  out.network = "lenet300";
  out.recipes = recipes(out.network);
  out.recipes.train.epochs = 20;
  out.recipes.train.batch = 128;
  CompressRecipe& compress = out.recipes.compress;
  compress.methods.set({{"lc-steps", 20}, {"lc-epochs", 4}, {"first-epochs", 8}, {"lr", 0.05}});
  compress.batch = 128;
  return out;
}

Benchmark mnist() {
  Benchmark out;
  out.name = "mnist";
  out.about = "LeNet-300-100 and LeNet-5 on handwritten digits";
  out.data_help =
      "folder with the four MNIST files; synthetic[:TRAIN[:TEST]]: the built-in digits (default: "
      "TESSERA_DATA, or the built-in digits)";
  out.calibration_help = "folder of IDX files of 28x28 images (*idx3-ubyte*)";
  out.networks = {"lenet300", "lenet5"};
  out.network_choices = {{"activation", "of lenet300", {"tanh", "relu"}, {"lenet300"}}};
  out.task = [](const std::string& name, const Config&) { return zoo_task(name, 10); };
  out.network = network;
  out.data = digits;
  out.recipes = recipes;
  out.story = story();
  return out;
}

}  // namespace

}  // namespace tessera::apps

int main(int argc, char** argv) {
  return tessera::apps::run_benchmark(argc, argv, tessera::apps::mnist());
}
