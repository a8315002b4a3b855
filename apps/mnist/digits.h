// What `mnist` works on: the data set and the network, and how both are chosen on the command line.
#pragma once

#include <string>

#include "apps/common/flags.h"
#include "apps/common/task.h"
#include "datasets/batches.h"
#include "models/lenet300.h"

namespace tessera::apps {

struct DataFlags {
  std::string data;  // folder, or "synthetic[:TRAIN[:TEST]]"; empty: TESSERA_DATA, or synthetic

  void add_flags(po::options_description& options);
};

// The images and what is subtracted from them; the network sees x / 255 minus the mean training
// image. Model files name the mean by its SHA-256 rather than carry it.
struct Digits {
  std::string text;  // for people
  datasets::Split split;
  datasets::Preprocess preprocess;

  // "data", "preprocess", "preprocess_sha256"
  Config settings() const;
  std::shared_ptr<const BatchSource> train(std::uint64_t seed) const;
  std::shared_ptr<const BatchSource> test() const;
};

// Throws Error for what is missing or malformed.
Digits load_digits(const DataFlags& flags);

// LeNet-300-100 on the digits.
Task digits_task(const Digits& digits, models::Activation activation);

// The activation that a saved model names in its settings. Throws Error when it names none.
models::Activation activation_of(const std::map<std::string, std::string>& settings,
                                 const std::string& file);

}  // namespace tessera::apps
