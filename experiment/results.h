// Finished results in a folder, so that a long comparison that was stopped does not repeat them.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/files/checkpoint.h"
#include "core/files/json_io.h"

namespace tessera::experiment {

inline constexpr const char* kResultExtension = ".result";
inline constexpr const char* kProblemExtension = ".problem";
// What bit allocation measured of a reference.
inline constexpr const char* kSensitivityExtension = ".sensitivity";

class Results {
 public:
  enum class Existing {
    reuse,      // is found; another configuration is an error
    repeat,     // is made anew by the same configuration; another one is an error
    overwrite,  // is made anew
  };
  // `extension`: of the files; what is no result of a run has one of its own.
  Results(std::filesystem::path folder, Existing existing, std::string extension = kResultExtension)
      : folder_(std::move(folder)), existing_(existing), extension_(std::move(extension)) {}

  // The result stored under `name`; none when there is none, or it is to be made anew. Throws Error
  // when the file is damaged, or was made under another configuration (saying what changed).
  std::optional<Json> find(const std::string& name, const Config& config) const;
  // Takes the place of a problem under this name.
  void store(const std::string& name, const Config& config, const Json& result) const;
  // What kept a run from a result, for reports; it is tried again the next time. Takes the place of
  // a result under this name.
  void store_problem(const std::string& name, const Config& config,
                     const std::string& problem) const;

 private:
  std::filesystem::path path(const std::string& name) const;
  std::filesystem::path problem_path(const std::string& name) const;

  std::filesystem::path folder_;
  Existing existing_;
  std::string extension_;
};

// "lr: was 0.1, now 0.2; ..."; "" where nothing differs.
std::string changes_text(const Config& was, const Config& now);

// A file of either kind, whatever its configuration.
struct StoredRun {
  std::string name;
  Config config;
  Json result;          // null when there is a problem
  std::string problem;  // "" when there is a result
};
// Throws Error for a damaged file.
StoredRun read_stored(const std::filesystem::path& file);

}  // namespace tessera::experiment
