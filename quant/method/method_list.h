// The one list of compression methods. A method is a row: flags, configurations, validation, help,
// comparisons and the tables of the documentation walk the list.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/files/checkpoint.h"
#include "core/settings.h"
#include "quant/method/compress.h"

namespace tessera::quant {

struct MethodRow {
  std::string name;               // "lc": of flags and files
  std::string doc;                // in a few words
  std::vector<Setting> settings;  // what shapes its result; several methods may share one
  // One of the two, from settings that have these rows. `seed`: of what it draws.
  std::function<std::unique_ptr<Method>(const Settings& settings)> training = {};
  std::function<PostTraining(const Settings& settings, std::uint64_t seed)> after_training = {};
  // Of one that trains: its schedule in so many epochs, each part the same share of the whole.
  std::function<void(Settings& settings, std::int64_t epochs)> rescale = {};
  // Settings that exclude each other: throws Error naming the flags. May be unset.
  std::function<void(const Settings& settings)> validate = {};
  // Besides settings with a key, what a configuration says of it. May be unset.
  std::function<void(const Settings& settings, Config& config)> describe = {};

  // One more thing to validate.
  void also(std::function<void(const Settings& settings)> check);
  bool trains() const { return training != nullptr; }
  AnyMethod make(const Settings& settings, std::uint64_t seed = 1) const;
  Config config(const Settings& settings) const;
};

// In the order of help and tables.
const std::vector<MethodRow>& methods();
std::vector<std::string> method_names();
// Of a method or a combination ("lnq+dkm", combination.h). Throws Error "--method: ..." for an
// unknown name and for what cannot be combined.
const MethodRow& method_row(const std::string& name);
// The settings of all methods, and of what goes beside them, at their defaults.
Settings method_settings();
// Throws Error, naming the flag, for what no method could work with.
void validate_methods(const Settings& settings);

// The setting that all methods that look at samples share.
inline constexpr const char* kCalibrationSamples = "calibration-samples";
Setting calibration_samples();

}  // namespace tessera::quant
