// Finished results in a folder, so that a long comparison that was stopped does not repeat them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/files/checkpoint.h"
#include "core/files/json_io.h"

namespace tessera::apps {

class Results {
 public:
  // `reuse` false: nothing is found, everything is written anew.
  Results(std::filesystem::path folder, bool reuse) : folder_(std::move(folder)), reuse_(reuse) {}

  // The result stored under `name`; none when there is none. Throws Error when the file is damaged,
  // or was made under another configuration (saying what changed).
  std::optional<Json> find(const std::string& name, const Config& config) const;
  void store(const std::string& name, const Config& config, const Json& result) const;

 private:
  std::filesystem::path path(const std::string& name) const;

  std::filesystem::path folder_;
  bool reuse_;
};

}  // namespace tessera::apps
