// The command line of one verb or command: --help and the parser (Boost.Program_options, whose
// headers no other file reads).
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/values.h"
#include "experiment/flag_list.h"

namespace tessera::apps {

using namespace experiment;

// The value that `args` give to --NAME, whatever else they hold; "" when they do not.
std::string peek_flag(const std::vector<std::string>& args, const std::string& name);

// Whether they hold --help or -h: then no file that they name needs to be there.
bool asks_for_help(const std::vector<std::string>& args);

struct Usage {
  std::string line;   // "mnist eval MODEL.json [flags]"
  std::string about;  // what it does
  // Arguments without a flag.
  int least = 0, most = 0;
  std::string expected = {};               // "one model file"
  std::vector<std::string> examples = {};  // whole command lines
};

// Every flag with its default and what it is, in lines of 80 columns.
std::string help_text(const FlagList& flags);

// Parses the arguments of a verb into the variables its flags are bound to and returns those
// without a flag (all of them behind "--"); nothing when --help was given, after printing it. A
// value follows its flag or stands behind '='. Flags are spelled out: an abbreviation that is
// unique today may not be tomorrow; --seeds and --methods stand for --seed and --method wherever
// there is one. Throws Error for what is unknown, bad, missing or given twice; no variable is set
// before all of them are known.
std::optional<std::vector<std::string>> parse_flags(const std::vector<std::string>& args,
                                                    const Usage& usage, FlagList& flags);

// A flag as a command line has it; `value`: what --help calls its value, "" where it takes none.
struct OfferedFlag {
  std::string name, value;
};
// The flags that `call`, which calls parse_flags() once, offers: nothing is parsed, and
// parse_flags() returns as it does for --help.
std::vector<OfferedFlag> offered_flags(const std::function<void()>& call);

// `args` with --seed and --method, where `flags` have them, in place of their other names.
std::vector<std::string> canonical_flags(std::vector<std::string> args, const FlagList& flags);

// Throws Error where `file` exists, unless --overwrite was given.
void require_new(const std::filesystem::path& file, bool overwrite);
inline constexpr const char* kOverwriteHelp = "replace what is there; without it that is an error";

}  // namespace tessera::apps
