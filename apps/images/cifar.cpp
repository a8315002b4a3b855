#include "apps/images/cifar.h"

#include "apps/images/image_data.h"
#include "apps/images/zoo_network.h"
#include "datasets/cifar.h"
#include "datasets/synthetic_images.h"

namespace tessera::apps {

namespace {

// Of ImageNet; networks that others trained on CIFAR often take them.
const datasets::ChannelMoments kImageNetMoments = {{0.485f, 0.456f, 0.406f},
                                                   {0.229f, 0.224f, 0.225f}};

datasets::Split read(std::int64_t classes, const DataRequest& request) {
  if (const auto synthetic = built_in(request.from)) {
    datasets::SyntheticImages options;
    options.classes = classes;
    if (synthetic->train > 0) options.train = synthetic->train;
    if (synthetic->test > 0) options.test = synthetic->test;
    return datasets::synthetic_images(options);
  }
  if (classes == 100) return datasets::cifar100(request.from);
  return datasets::cifar10(request.from, {.holdout = request.choices.at("protocol") == "holdout"});
}

Data images(std::int64_t classes, const DataRequest& request) {
  datasets::Split split = read(classes, request);
  const std::string& name = request.choices.at("preprocess");
  const datasets::ChannelMoments moments = request.raw ? datasets::ChannelMoments{}
                                           : name == "imagenet"
                                               ? kImageNetMoments
                                               : datasets::channel_moments(split.train);
  auto preprocess =
      request.raw ? datasets::Preprocess::none(split.test.pixels())
                  : datasets::Preprocess::standard(split.train.pixels(), moments.mean, moments.std);
  if (request.raw) split.train = {};
  // Without the whole test batch the set holds a training batch that did not train, too.
  std::vector<ImageSet::Part> parts;
  const std::int64_t rest = split.test.size() - datasets::kCifarTrainBatch;
  if (!built_in(request.from) && rest > 0) {
    parts = {{"batch 5", datasets::kCifarTrainBatch, true}, {cat(rest, " test images"), rest}};
  }
  const std::string source = built_in(request.from)
                                 ? "built-in synthetic images"
                                 : cat("CIFAR-", classes, " in ", request.from, ": ",
                                       split.train.name, ", ", split.test.name);
  Config settings;
  if (!request.raw) {
    settings = {{"preprocess", name},
                {"preprocess_mean", exact_list(moments.mean)},
                {"preprocess_std", exact_list(moments.std)}};
  }
  return image_data({.source = source,
                     .split = std::move(split),
                     .preprocess = std::move(preprocess),
                     .settings = std::move(settings),
                     .parts = std::move(parts),
                     .unlabelled =
                         [classes](const std::string& folder) {
                           const std::vector<int> labels =
                               classes == 100 ? std::vector{20, 100} : std::vector{10};
                           return datasets::cifar_images(folder, {labels});
                         },
                     .augment = {.pad = 4, .flip = 0.5, .cutout = classes == 100 ? 8 : 16}},
                    request);
}

// One cycle of 30 epochs: the rate rises for some of them and falls by half a cosine. Networks
// of some millions of weights take more regularisation, those without shortcuts a lower rate.
Recipes recipes(const std::string& name) {
  Recipes out;
  TrainRecipe& train = out.train;
  train.epochs = 30;
  train.batch = 128;
  train.lr = 0.2;
  train.lr_final = 0;
  train.warmup = 0.15;
  train.optimizer.weight_decay = 5e-4;
  train.label_smoothing = 0.05;
  train.augment = "crop,flip";
  const bool plain = name.starts_with("vgg") || name.starts_with("alexnet");
  const bool large = plain || name.starts_with("resnet18") || name.starts_with("resnet34") ||
                     name.starts_with("resnet50");
  if (large) {
    train.label_smoothing = 0.1;
    train.augment = "crop,flip,cutout";
  }
  if (plain) train.lr = 0.1;
  if (name == "alexnet_cifar") train.lr = 0.02;  // no batch-norm
  CompressRecipe& compress = out.compress;
  compress.batch = 128;
  compress.optimizer.weight_decay = 5e-4;
  compress.augment = "crop,flip";
  compress.methods.set({{"mu", 1e-3},
                        {"mu-growth", 1.4},
                        {"lc-steps", 20},
                        {"lc-epochs", 1},
                        {"first-epochs", 2},
                        {"lr", train.lr / 10},
                        {"lr-decay", 0.9},
                        {"lr-fall", 1},
                        {"lc-finish", 0}});
  return out;
}

}  // namespace

Benchmark cifar(std::int64_t classes) {
  Benchmark out;
  out.name = cat("cifar", classes);
  out.about = cat("Convolutional networks on CIFAR-", classes);
  out.data_help = cat("folder with the binary version of CIFAR-", classes,
                      " (plain, .gz or .xz); synthetic[:TRAIN[:TEST]]: built-in images (default: "
                      "TESSERA_DATA, or the built-in images)");
  out.calibration_help = "folder of records like the set's (*.bin*), labels not looked at";
  out.networks = {"resnet20",           "resnet20x2",        "resnet32",       "resnet32x2",
                  "resnet56",           "resnet56x2",        "vgg_small",      "vgg16",
                  "alexnet_cifar",      "resnet18_cifar",    "resnet34_cifar", "resnet50_cifar",
                  "mobilenet_v1_cifar", "mobilenet_v2_cifar"};
  out.network_choices = {width_choice(), stem_choice()};
  out.data_choices = {{"preprocess",
                       "normalisation by the moments of the training images or those of ImageNet",
                       {"moments", "imagenet"}}};
  if (classes == 10) {
    out.data_choices.push_back(
        {"protocol",
         "what trains and what is measured: all of the set that is there, or batches 1-4 and batch "
         "5 with 1000 test images",
         {"auto", "holdout"}});
  }
  out.task = [classes](const std::string& name, const Config&) { return zoo_task(name, classes); };
  out.network = zoo_network;
  out.data = [classes](const DataRequest& request) { return images(classes, request); };
  out.recipes = recipes;
  return out;
}

}  // namespace tessera::apps
