#include "apps/common/options.h"

#include <iostream>

#include "core/error.h"

namespace tessera::apps {

namespace po = boost::program_options;

std::optional<po::variables_map> parse_options(const std::string& usage,
                                               po::options_description options,
                                               const std::vector<std::string>& args,
                                               const char* positional) {
  options.add_options()("help,h", "print this help");
  po::positional_options_description words;
  if (*positional) words.add(positional, 1);
  po::variables_map values;
  try {
    po::store(po::command_line_parser(args).options(options).positional(words).run(), values);
    if (values.count("help")) {
      std::cout << "usage: " << usage << "\n\n" << options;
      return std::nullopt;
    }
    po::notify(values);
  } catch (const po::error& error) {
    fail(error.what(), "; usage: ", usage);
  }
  return values;
}

}  // namespace tessera::apps
