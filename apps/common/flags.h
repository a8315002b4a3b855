// Command lines: flags of one verb or command, parsed with Boost.Program_options.
#pragma once

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera::apps {

namespace po = boost::program_options;

// A flag with a value, whose default is what the variable holds.
template <class T>
po::typed_value<T>* flag(T& variable, const char* placeholder = "N") {
  return po::value<T>(&variable)->default_value(variable, cat(variable))->value_name(placeholder);
}
// Text without a default worth showing when it is empty.
po::typed_value<std::string>* text_flag(std::string& variable, const char* placeholder = "TEXT");
// "on" or "off".
po::typed_value<bool>* switch_flag(bool& variable);
// Texts that may be given several times.
po::typed_value<std::vector<std::string>>* repeated_flag(std::vector<std::string>& variable,
                                                         const char* placeholder);

struct Usage {
  std::string line;   // "mnist eval MODEL.json [flags]"
  std::string about;  // what it does
  // Arguments without a flag.
  int least = 0, most = 0;
  std::string expected = {};               // "one model file"
  std::vector<std::string> examples = {};  // whole command lines
};

// Parses the arguments of a verb into the variables its flags are bound to and returns those
// without a flag; nothing when --help was given, after printing it. Flags are spelled out: an
// abbreviation that is unique today may not be tomorrow; --seeds and --methods stand for --seed
// and --method wherever there is one. What is unknown or bad throws (boost::program_options::error
// or Error).
std::optional<std::vector<std::string>> parse_flags(const std::vector<std::string>& args,
                                                    const Usage& usage,
                                                    po::options_description& options);

// `args` with --seed and --method, where `options` have them, in place of their other names.
std::vector<std::string> canonical_flags(std::vector<std::string> args,
                                         const po::options_description& options);

// The value that `args` give to --NAME, whatever else they hold; "" when they do not.
std::string peek_flag(const std::vector<std::string>& args, const std::string& name);

// Whether they hold --help or -h: then no file that they name needs to be there.
bool asks_for_help(const std::vector<std::string>& args);

// "1,2,4" as integers; `what` names the flag in messages.
std::vector<std::int64_t> integer_list(const std::string& text, const std::string& what,
                                       std::int64_t min, std::int64_t max);
// "0,0.01" as numbers in [min, max].
std::vector<double> number_list(const std::string& text, const std::string& what, double min,
                                double max);
// "dc,lc" as words, none of them empty.
std::vector<std::string> word_list(const std::string& text, const std::string& what);

// Throws Error when an item of a list of runs stands there twice: its runs are not independent.
template <class List>
const List& distinct(const List& list, const std::string& what) {
  for (auto at = list.begin(); at != list.end(); ++at) {
    check(std::find(list.begin(), at, *at) == at, what, ": '", *at, "' is given twice");
  }
  return list;
}

// Calls `body`, with the flag put in front of what it throws as Error.
template <class Body>
auto naming(const std::string& flag, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    fail(flag, ": ", error.what());
  }
}

// Throws Error unless `value` is finite and in [min, max].
void check_range(const std::string& flag, double value, double min, double max);

// Throws Error where `file` exists, unless --overwrite was given.
void require_new(const std::filesystem::path& file, bool overwrite);
inline constexpr const char* kOverwriteHelp = "replace what is there; without it that is an error";

}  // namespace tessera::apps
