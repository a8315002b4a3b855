// A run of an application: its name in --out, the settings that shape its result, and what an
// earlier one left there.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "experiment/results.h"
#include "experiment/session.h"

namespace tessera::experiment {

// What a run is called and everything that shapes its result.
struct Run {
  std::string name;  // of its files: NAME.json, NAME.result, NAME.checkpoint, NAME.log.jsonl
  Config config;
};

// `rest` behind --name.
std::string with_prefix(const Session& session, const std::string& rest);

// The results in --out, as --resume and --overwrite want them.
Results results_of(const Session& session);

// Throws Error, saying what changed, when the files in --out that --resume would use were made
// under another configuration. Done before any work, so that nothing is wasted on a refused
// comparison.
void require_resumable(const Session& session, const Run& run);

// Throws Error where a model or a begun training of other settings is under the run's name.
// `advice`: what to do with the model in a file.
void require_same_settings_there(const Session& session, const Run& run,
                                 const std::function<std::string(const std::string&)>& advice);
// When its result is stored.
void remove_checkpoint(const std::filesystem::path& path);

}  // namespace tessera::experiment
