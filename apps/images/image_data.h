// Data of image sets that are held in memory, and the words of the flags that choose them.
#pragma once

#include "apps/cli/benchmark.h"
#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "datasets/preprocess.h"

namespace tessera::apps {

// Numbers of built-in images that --data asks for; 0 where it does not say.
struct BuiltIn {
  std::int64_t train = 0, test = 0;
};
// Whether `from` asks for the built-in set: "", "synthetic", "synthetic:TRAIN",
// "synthetic:TRAIN:TEST". Throws Error for one that is malformed.
std::optional<BuiltIn> built_in(const std::string& from);

struct ImageSet {
  std::string source;     // for people: "CIFAR-10 in data/cifar10"
  datasets::Split split;  // without training images: nothing to train on
  datasets::Preprocess preprocess;
  Config settings;  // of the preprocessing
  // Sets of which the test images consist, in order; none: one set "test".
  struct Part {
    std::string name;
    std::int64_t images;
    bool held_out = false;  // as TestSet's
  };
  std::vector<Part> parts = {};
  // Reads images without labels from a folder, as those of the split: u8 [n, ...].
  std::function<Tensor(const std::string& folder)> unlabelled = {};
  datasets::Augment augment = {};  // what "crop", "flip" and "cutout" mean for these images
};

// Classification on the samples that the network asks for.
Data image_data(ImageSet set, const DataRequest& request);
// The shape of "x", as the network takes it. Throws Error where it reads none.
Shape image_sample(const DataRequest& request);

// "none" or a list of crop, flip, cutout, of which each takes its value from `full`. Throws Error
// for other words, and for those that `full` does not have.
datasets::Augment parse_augment(const std::string& text, const datasets::Augment& full);

// Floats as text that reads back to them: "0.4914,0.4822".
std::string exact_list(const std::vector<float>& values);

}  // namespace tessera::apps
