// Options of one command, by Boost.Program_options.
#pragma once

#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <vector>

namespace tessera::apps {

// Adds --help, parses, and checks that every argument is known and every required one given.
// `positional` names the option that takes the words without a dash ("" for none). Prints the help
// and returns nothing after --help. Throws Error.
std::optional<boost::program_options::variables_map> parse_options(
    const std::string& usage, boost::program_options::options_description options,
    const std::vector<std::string>& args, const char* positional = "");

}  // namespace tessera::apps
