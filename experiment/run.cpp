#include "experiment/run.h"

#include <cstdlib>
#include <optional>
#include <utility>

#include "core/files/checkpoint.h"
#include "core/files/model.h"
#include "core/text.h"
#include "ops/op_list.h"

namespace tessera::experiment {

namespace {

namespace fs = std::filesystem;

// The training loop writes what it has of its own in its own way: 0x1.cp-1 for 0.875.
bool same_setting(const std::string& loop, const std::string& run) {
  const auto number = [](const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    return text.empty() || *end != '\0' ? std::nullopt : std::optional(value);
  };
  if (const auto a = number(loop), b = number(run); a && b) return *a == *b;
  return loop == run;
}

// The settings in a checkpoint, and these: it holds those of the training loop as well.
std::pair<Config, Config> checkpoint_settings(const fs::path& checkpoint, const Config& config) {
  Config saved = load_checkpoint(checkpoint).info.config, now = saved;
  for (const auto& [key, value] : config) {
    const auto found = saved.find(key);
    if (found == saved.end() || !same_setting(found->second, value)) now[key] = value;
  }
  return {std::move(saved), std::move(now)};
}

}  // namespace

std::string with_prefix(const Session& session, const std::string& rest) {
  return session.out().name.empty() ? rest : session.out().name + "-" + rest;
}

Results results_of(const Session& session) {
  using Existing = Results::Existing;
  const OutSettings& flags = session.out();
  return {flags.out, flags.resume      ? Existing::reuse
                     : flags.overwrite ? Existing::overwrite
                                       : Existing::repeat};
}

void require_resumable(const Session& session, const Run& run) {
  results_of(session).find(run.name, run.config);
  const fs::path checkpoint = session.path(run.name + ".checkpoint");
  if (!session.out().resume || !fs::exists(checkpoint)) return;
  const auto [saved, now] = checkpoint_settings(checkpoint, run.config);
  require_same_config(checkpoint, saved, now);
}

void require_same_settings_there(const Session& session, const Run& run,
                                 const std::function<std::string(const std::string&)>& advice) {
  const fs::path file = session.path(run.name + ".json"),
                 checkpoint = session.path(run.name + ".checkpoint");
  if (fs::exists(file)) {
    const auto changes = changes_text(load(file, ops::standard_ops()).settings, run.config);
    check(changes.empty(), file.string(), " is of other settings: ", changes, "; ",
          advice(file.string()));
  } else if (fs::exists(checkpoint)) {
    const auto [saved, now] = checkpoint_settings(checkpoint, run.config);
    const auto changes = changes_text(saved, now);
    check(changes.empty(), checkpoint.string(),
          " is unfinished training of other settings: ", changes,
          "; train --resume with those finishes it, another --out or --name leaves it alone");
  }
}

void remove_checkpoint(const fs::path& path) {
  std::error_code ignored;  // a checkpoint that stays behind is never wrong, only stale
  fs::remove(path, ignored);
}

}  // namespace tessera::experiment
