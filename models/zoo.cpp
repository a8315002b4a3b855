#include "models/zoo.h"

#include <algorithm>

#include "core/words.h"
#include "models/alexnet.h"
#include "models/lenet300.h"
#include "models/lenet5.h"
#include "models/mobilenet.h"
#include "models/resnet.h"
#include "models/resnet_cifar.h"
#include "models/squeezenet.h"
#include "models/vgg.h"

namespace tessera::models {

namespace {

using Made = std::shared_ptr<const nn::Module>;

std::int64_t channels(const Shape& sample) {
  image_size("a network of images", sample);
  return sample[0].value();
}

template <Activation kActivation>
Made make_lenet300(std::int64_t classes, const Shape& sample, double, bool) {
  check(sample == Shape({784}) && classes == 10, "lenet300 has 784 inputs and 10 classes, got ",
        sample.text(), " and ", classes);
  return nn::share(lenet300(kActivation));
}

template <nn::Sequential (*kMake)(std::int64_t, const Shape&)>
Made make_sized(std::int64_t classes, const Shape& sample, double, bool) {
  return nn::share(kMake(classes, sample));
}

template <std::int64_t kDepth>
Made make_resnet_cifar(std::int64_t classes, const Shape& sample, double width, bool stem_relu) {
  return nn::share(resnet_cifar(
      kDepth, classes, {.width = width, .channels = channels(sample), .stem_relu = stem_relu}));
}

template <std::int64_t kDepth, Stem kStem>
Made make_resnet(std::int64_t classes, const Shape& sample, double, bool) {
  return nn::share(resnet(kDepth, classes, kStem, channels(sample)));
}

template <nn::Sequential (*kMake)(std::int64_t, Stem, double, std::int64_t), Stem kStem>
Made make_mobilenet(std::int64_t classes, const Shape& sample, double width, bool) {
  return nn::share(kMake(classes, kStem, width, channels(sample)));
}

Made make_squeezenet(std::int64_t classes, const Shape& sample, double, bool) {
  return nn::share(squeezenet(classes, channels(sample)));
}

}  // namespace

const std::vector<ZooEntry>& zoo() {
  static const std::vector<ZooEntry> entries = [] {
    const Shape digit{1, 28, 28}, small{3, 32, 32}, large{3, 224, 224};
    constexpr auto kCifar = Stem::cifar, kImageNet = Stem::imagenet;
    return std::vector<ZooEntry>{
        {"lenet300", "LeNet-300-100, tanh", {784}, 10, {}, make_lenet300<Activation::tanh>},
        {"lenet300_relu", "LeNet-300-100, ReLU", {784}, 10, {}, make_lenet300<Activation::relu>},
        {"lenet5", "LeNet-5 of Caffe, 20-50-500", digit, 10, {}, make_sized<lenet5>},
        {"alexnet_cifar", "AlexNet for CIFAR", small, 10, {}, make_sized<alexnet_cifar>},
        {"vgg_small", "VGG with 6 convolutions, 128 to 512", small, 10, {}, make_sized<vgg_small>},
        {"vgg16", "VGG-16 with batch-norm for CIFAR", small, 10, {}, make_sized<vgg16>},
        {"resnet20", "ResNet-20 for CIFAR", small, 10, 1, make_resnet_cifar<20>, true},
        {"resnet32", "ResNet-32 for CIFAR", small, 10, 1, make_resnet_cifar<32>, true},
        {"resnet56", "ResNet-56 for CIFAR", small, 10, 1, make_resnet_cifar<56>, true},
        {"resnet20x2", "ResNet-20, double width", small, 10, 2, make_resnet_cifar<20>, true},
        {"resnet32x2", "ResNet-32, double width", small, 10, 2, make_resnet_cifar<32>, true},
        {"resnet56x2", "ResNet-56, double width", small, 10, 2, make_resnet_cifar<56>, true},
        {"resnet18", "ResNet-18", large, 1000, {}, make_resnet<18, kImageNet>},
        {"resnet34", "ResNet-34", large, 1000, {}, make_resnet<34, kImageNet>},
        {"resnet50", "ResNet-50", large, 1000, {}, make_resnet<50, kImageNet>},
        {"resnet18_cifar", "ResNet-18, CIFAR stem", small, 10, {}, make_resnet<18, kCifar>},
        {"resnet34_cifar", "ResNet-34, CIFAR stem", small, 10, {}, make_resnet<34, kCifar>},
        {"resnet50_cifar", "ResNet-50, CIFAR stem", small, 10, {}, make_resnet<50, kCifar>},
        {"mobilenet_v1", "MobileNet", large, 1000, 1, make_mobilenet<mobilenet_v1, kImageNet>},
        {"mobilenet_v1_cifar", "MobileNet, CIFAR stem", small, 10, 1,
         make_mobilenet<mobilenet_v1, kCifar>},
        {"mobilenet_v2", "MobileNetV2", large, 1000, 1, make_mobilenet<mobilenet_v2, kImageNet>},
        {"mobilenet_v2_cifar", "MobileNetV2, CIFAR stem", small, 10, 1,
         make_mobilenet<mobilenet_v2, kCifar>},
        {"squeezenet", "SqueezeNet v1.0 of Caffe", {3, 227, 227}, 1000, {}, make_squeezenet},
    };
  }();
  return entries;
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const ZooEntry& entry : zoo()) out.push_back(entry.name);
  return out;
}

const ZooEntry& entry(std::string_view name) {
  const auto& entries = zoo();
  const auto found = std::find_if(entries.begin(), entries.end(),
                                  [&](const ZooEntry& e) { return e.name == name; });
  if (found != entries.end()) return *found;
  std::vector<std::string> known;
  for (const auto& e : entries) known.push_back(e.name);
  fail_unknown("network", name, known);
}

Built build(std::string_view name, const BuildOptions& options) {
  const ZooEntry& e = entry(name);
  const std::int64_t classes = options.classes.value_or(e.classes);
  const Shape sample = options.sample.value_or(e.sample);
  check(classes >= 1, e.name, ": needs at least one class, got ", classes);
  for (const Dim d : sample.dims()) {
    check(!d.is_symbolic() && d.value() >= 1, e.name, ": a sample cannot be ", sample.text());
  }
  check(e.width || !options.width, e.name, ": has no width multiplier");
  check(e.stem_choice || !options.stem_relu, e.name, ": has no choice of a ReLU behind its stem");
  const double width = options.width.value_or(e.width.value_or(1));
  return {e.make(classes, sample, width, options.stem_relu.value_or(true)), sample, classes};
}

}  // namespace tessera::models
