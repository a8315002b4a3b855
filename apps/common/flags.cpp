#include "apps/common/flags.h"

#include <charconv>
#include <cmath>
#include <iostream>

#include "core/files/atomic_file.h"
#include "core/memory_rule.h"
#include "core/words.h"

namespace tessera::apps {

namespace {

namespace style = po::command_line_style;
constexpr int kStyle = style::default_style & ~style::allow_guessing;

// Flags that take one or several of something, by the name that people also give them.
struct Alias {
  std::string_view other, name;
};
constexpr Alias kAliases[] = {{"seeds", "seed"}, {"methods", "method"}};

bool has_flag(const po::options_description& options, std::string_view name) {
  return options.find_nothrow(std::string(name), false) != nullptr;
}

void print_help(const Usage& usage, const po::options_description& options) {
  std::cout << "usage: " << usage.line << "\n" << usage.about << "\n\n" << options;
  std::string also;
  for (const Alias& alias : kAliases) {
    if (has_flag(options, alias.name)) {
      also += cat(also.empty() ? "" : ", ", "--", alias.other, " for --", alias.name);
    }
  }
  if (!also.empty()) std::cout << "\nAlso taken: " << also << ".\n";
  if (!usage.examples.empty()) std::cout << "\nExamples:\n";
  for (const std::string& example : usage.examples) std::cout << "  " << example << "\n";
}

[[noreturn]] void fail_flag(const std::string& flag, const Usage& usage,
                            const po::options_description& options) {
  std::vector<std::string> known;
  for (const auto& option : options.options()) known.push_back(option->long_name());
  const std::size_t name = flag.find_first_not_of('-');
  const std::string near = name == flag.npos ? "" : closest(flag.substr(name), known);
  fail("unrecognised option '", flag, "'",
       near.empty() ? "; usage: " + usage.line : "; did you mean '--" + near + "'?");
}

}  // namespace

std::vector<std::string> canonical_flags(std::vector<std::string> args,
                                         const po::options_description& options) {
  for (const Alias& alias : kAliases) {
    if (!has_flag(options, alias.name)) continue;
    const std::string other = cat("--", alias.other);
    for (std::string& arg : args) {
      if (arg == other || arg.starts_with(other + "=")) {
        arg.replace(0, other.size(), cat("--", alias.name));
      }
    }
  }
  return args;
}

po::typed_value<std::string>* text_flag(std::string& variable, const char* placeholder) {
  auto* value = po::value<std::string>(&variable)->value_name(placeholder);
  return variable.empty() ? value : value->default_value(variable);
}

po::typed_value<bool>* switch_flag(bool& variable) {
  return po::value<bool>(&variable)
      ->default_value(variable, variable ? "on" : "off")
      ->value_name("on|off");
}

po::typed_value<std::vector<std::string>>* repeated_flag(std::vector<std::string>& variable,
                                                         const char* placeholder) {
  return po::value<std::vector<std::string>>(&variable)->composing()->value_name(placeholder);
}

std::optional<std::vector<std::string>> parse_flags(const std::vector<std::string>& args,
                                                    const Usage& usage,
                                                    po::options_description& options) {
  std::vector<std::string> words;
  options.add_options()(
      "max-memory", po::value<std::int64_t>()->value_name("MIB")->notifier([](std::int64_t mib) {
        check_range("--max-memory", static_cast<double>(mib), 0, 1 << 30);
        allow_memory(mib << 20);
      }),
      "what files may take where that is more than four times their size and 256 MiB")("help,h",
                                                                                       "this text");
  po::options_description hidden;
  hidden.add_options()("argument", po::value<std::vector<std::string>>(&words));
  po::options_description all;
  all.add(options).add(hidden);
  po::positional_options_description places;
  places.add("argument", -1);
  po::variables_map variables;
  try {
    const std::vector<std::string> named = canonical_flags(args, options);
    po::store(po::command_line_parser(named).options(all).positional(places).style(kStyle).run(),
              variables);
  } catch (const po::unknown_option& error) {
    fail_flag(error.get_option_name(), usage, options);
  }
  if (variables.contains("help")) {
    print_help(usage, options);
    return std::nullopt;
  }
  po::notify(variables);
  const int given = static_cast<int>(words.size());
  check(usage.most > 0 || given == 0, "unexpected argument '", given == 0 ? "" : words[0],
        "'; usage: ", usage.line);
  check(given >= usage.least && given <= usage.most, "expected ", usage.expected,
        "; usage: ", usage.line);
  return words;
}

std::string peek_flag(const std::vector<std::string>& args, const std::string& name) {
  const std::string flag = "--" + name;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i].starts_with(flag + "=")) return args[i].substr(flag.size() + 1);
    if (args[i] == flag && i + 1 < args.size()) return args[i + 1];
  }
  return "";
}

bool asks_for_help(const std::vector<std::string>& args) {
  return std::any_of(args.begin(), args.end(),
                     [](const std::string& arg) { return arg == "--help" || arg == "-h"; });
}

std::vector<std::string> word_list(const std::string& text, const std::string& what) {
  std::vector<std::string> words;
  std::size_t begin = 0;
  while (true) {
    const std::size_t comma = text.find(',', begin);
    words.push_back(text.substr(begin, comma == text.npos ? text.npos : comma - begin));
    check(!words.back().empty(), what, ": expected a list such as 1,2, got '", text, "'");
    if (comma == text.npos) return words;
    begin = comma + 1;
  }
}

std::vector<std::int64_t> integer_list(const std::string& text, const std::string& what,
                                       std::int64_t min, std::int64_t max) {
  std::vector<std::int64_t> numbers;
  for (const std::string& word : word_list(text, what)) {
    std::int64_t value = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, value);
    check(error == std::errc() && stop == end, what, ": expected a whole number, got '", word, "'");
    check(value >= min && value <= max, what, " must be ", min, " to ", max, ", got ", value);
    numbers.push_back(value);
  }
  return numbers;
}

std::vector<double> number_list(const std::string& text, const std::string& what, double min,
                                double max) {
  std::vector<double> numbers;
  for (const std::string& word : word_list(text, what)) {
    double value = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, value);
    check(error == std::errc() && stop == end, what, ": expected a number, got '", word, "'");
    check_range(what, value, min, max);
    numbers.push_back(value);
  }
  return numbers;
}

void require_new(const std::filesystem::path& file, bool overwrite) {
  check(overwrite || !file_exists(file), file.string(),
        " is there already; --overwrite replaces it");
}

void check_range(const std::string& flag, double value, double min, double max) {
  check(std::isfinite(value) && value >= min && value <= max, flag, " must be ", min, " to ", max,
        ", got ", value);
}

}  // namespace tessera::apps
