// The networks by name: what applications list, build and describe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/module.h"

namespace tessera::models {

// What may differ from the entry's defaults.
struct BuildOptions {
  std::optional<std::int64_t> classes = {};
  std::optional<Shape> sample = {};  // such as [1,28,28]
  std::optional<double> width = {};  // times the channels; for networks that scale
  // Whether an activation function stands behind the first convolution; for networks that have the
  // choice (ResNetCifarOptions::stem_relu).
  std::optional<bool> stem_relu = {};
};

struct ZooEntry {
  std::string name, description;
  Shape sample;
  std::int64_t classes = 0;
  std::optional<double> width = {};  // default multiplier; none: the network does not scale
  std::shared_ptr<const nn::Module> (*make)(std::int64_t classes, const Shape& sample, double width,
                                            bool stem_relu) = nullptr;
  bool stem_choice = false;  // BuildOptions::stem_relu means something
};

const std::vector<ZooEntry>& zoo();
std::vector<std::string> names();
// Throws Error listing the names for one that is unknown.
const ZooEntry& entry(std::string_view name);

// The network, and what it then takes and gives. Throws Error for options it cannot have.
struct Built {
  std::shared_ptr<const nn::Module> network;
  Shape sample;
  std::int64_t classes = 0;
};
Built build(std::string_view name, const BuildOptions& options = {});

}  // namespace tessera::models
