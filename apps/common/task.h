// What an application gives to the parts that all applications share: data, a network, and the
// settings that name them.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/batch_source.h"
#include "core/files/checkpoint.h"
#include "nn/module.h"

namespace tessera::apps {

struct Task {
  std::string data;  // for people: "MNIST from data/mnist: 60000 + 10000 images"
  std::shared_ptr<const nn::Module> network;
  Shape sample;
  std::int64_t classes = 0;
  // Training batches in the order of a seed.
  std::function<std::shared_ptr<const BatchSource>(std::uint64_t seed)> train;
  std::shared_ptr<const BatchSource> test;
  // What data, preprocessing and network are; goes into model files.
  Config settings;
};

}  // namespace tessera::apps
