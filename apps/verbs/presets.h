// Presets: what a publication did, as the flags that say it.
#pragma once

#include <string>
#include <vector>

#include "apps/cli/parse.h"

namespace tessera::apps {

// The arguments with those flags of the preset that `options` has and that are not given already.
// Throws Error for a name that is unknown.
std::vector<std::string> with_preset(const std::string& name, std::vector<std::string> args,
                                     const FlagList& options);

// What --help says of --preset: every name with its flags.
std::string preset_help();

}  // namespace tessera::apps
