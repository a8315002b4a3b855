// Command lines: flags of one verb, parsed with Boost.Program_options.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
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

struct VerbUsage {
  std::string line;   // "mnist eval MODEL.json [flags]"
  std::string about;  // what the verb does
};

// Parses the arguments of a verb into the variables its flags are bound to; `positional` receives
// up to `positional_max` arguments without a flag. Returns false when --help was given, after
// printing it. Unknown flags and bad values throw (boost::program_options::error or Error).
bool parse_flags(const std::vector<std::string>& args, const VerbUsage& usage,
                 po::options_description& options, std::vector<std::string>& positional,
                 int positional_max);

// "1,2,4" as integers; `what` names the flag in messages.
std::vector<std::int64_t> integer_list(const std::string& text, const std::string& what,
                                       std::int64_t min, std::int64_t max);
// "dc,lc" as words, none of them empty.
std::vector<std::string> word_list(const std::string& text, const std::string& what);

// Throws Error unless `value` is finite and in [min, max].
void check_range(const std::string& flag, double value, double min, double max);

}  // namespace tessera::apps
