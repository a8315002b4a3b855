#include "apps/common/flag_list.h"

#include <boost/program_options.hpp>
#include <charconv>
#include <iostream>
#include <limits>
#include <set>
#include <sstream>
#include <type_traits>
#include <utility>

#include "apps/common/flags.h"
#include "core/memory_rule.h"
#include "core/text.h"
#include "core/words.h"

namespace tessera::apps {

namespace po = boost::program_options;

namespace {

namespace style = po::command_line_style;
constexpr int kStyle = style::default_style & ~style::allow_guessing;
constexpr const char* kWord = "argument";  // what has no flag

// Flags that take one or several of something, by the name that people also give them.
struct Alias {
  std::string_view other, name;
};
constexpr Alias kAliases[] = {{"seeds", "seed"}, {"methods", "method"}};

template <class T>
T number_of(const std::string& text) {
  using Limits = std::numeric_limits<T>;
  const std::size_t sign = text.starts_with('+') && !text.starts_with("+-") ? 1 : 0;
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + sign, end, value);
  constexpr bool kWhole = std::is_integral_v<T>;
  check(error != std::errc::result_out_of_range, "expected a ", kWhole ? "whole " : "",
        "number from ", Limits::lowest(), " to ", Limits::max(), ", got ", quote(text));
  check(error == std::errc() && stop == end, "expected a ", kWhole ? "whole " : "", "number",
        std::is_unsigned_v<T> ? " of 0 or more" : "", ", got ", quote(text));
  return value;
}

template <class T>
FlagValue number(T& variable, const char* placeholder) {
  return {placeholder, cat(variable), false,
          [&variable](const std::string& text) { variable = number_of<T>(text); }};
}

bool on_or_off(const std::string& text) {
  for (const char* yes : {"on", "yes", "true", "1"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"off", "no", "false", "0"}) {
    if (text == no) return false;
  }
  fail("expected on or off, got ", quote(text));
}

void print_help(const Usage& usage, const FlagList& flags) {
  std::cout << "usage: " << usage.line << "\n" << usage.about << "\n\n" << flags.help();
  std::string also;
  for (const Alias& alias : kAliases) {
    if (flags.has(alias.name)) {
      also += cat(also.empty() ? "" : ", ", "--", alias.other, " for --", alias.name);
    }
  }
  if (!also.empty()) std::cout << "\nAlso taken: " << also << ".\n";
  if (!usage.examples.empty()) std::cout << "\nExamples:\n";
  for (const std::string& example : usage.examples) std::cout << "  " << example << "\n";
}

[[noreturn]] void fail_flag(const std::string& flag, const Usage& usage, const FlagList& flags) {
  const std::size_t name = flag.find_first_not_of('-');
  const std::string near = name == flag.npos ? "" : closest(flag.substr(name), flags.names());
  fail("unrecognised option '", flag, "'",
       near.empty() ? "; usage: " + usage.line : "; did you mean '--" + near + "'?");
}

// "X (=0.1)"
std::string value_name(const FlagValue& value) {
  return cat(value.placeholder, value.fallback.empty() ? "" : cat(" (=", value.fallback, ")"));
}

struct Given {
  std::string name, text;
};

struct Parsed {
  std::vector<Given> flags;  // as they were given
  std::vector<std::string> words;
};

Parsed parsed(const std::vector<std::string>& args, const Usage& usage, const FlagList& flags) {
  po::options_description all = flags.described();
  all.add_options()(kWord, po::value<std::vector<std::string>>());
  po::positional_options_description places;
  places.add(kWord, -1);
  Parsed out;
  std::set<std::string> seen;
  try {
    const auto found =
        po::command_line_parser(args).options(all).positional(places).style(kStyle).run();
    for (const po::option& option : found.options) {
      const std::string text = option.value.empty() ? "" : option.value.front();
      if (option.position_key >= 0) {
        out.words.push_back(text);
        continue;
      }
      const FlagValue& value = *flags.find(option.string_key);
      check(seen.insert(option.string_key).second || value.repeats, "--", option.string_key,
            " is given twice");
      // The next flag is no value, unless '=' says so.
      const bool next = option.original_tokens.size() > 1 && text.starts_with("--") &&
                        flags.has(text.substr(2, text.find('=') - 2));
      check(value.placeholder.empty() || !(text.empty() || next), "--", option.string_key,
            ": a value is missing (", value.placeholder, ")");
      out.flags.push_back({option.string_key, text});
    }
  } catch (const po::unknown_option& error) {
    fail_flag(error.get_option_name(), usage, flags);
  } catch (const po::error_with_option_name& error) {
    const std::string name = error.get_option_name().substr(2);
    const FlagValue* value = flags.find(name);
    check(value == nullptr || value->placeholder.empty(), "--", name, ": a value is missing (",
          value ? value->placeholder : "", ")");
    fail("--", name, " takes no value");
  }
  return out;
}

}  // namespace

FlagValue flag(int& variable, const char* placeholder) {
  return number(variable, placeholder);
}
FlagValue flag(std::int64_t& variable, const char* placeholder) {
  return number(variable, placeholder);
}
FlagValue flag(std::uint64_t& variable, const char* placeholder) {
  return number(variable, placeholder);
}
FlagValue flag(double& variable, const char* placeholder) {
  return number(variable, placeholder);
}

FlagValue number_flag(std::function<void(std::int64_t)> take, const char* placeholder) {
  return {placeholder, "", false, [take = std::move(take)](const std::string& text) {
            take(number_of<std::int64_t>(text));
          }};
}

FlagValue text_flag(std::string& variable, const char* placeholder) {
  return {placeholder, variable, false, [&variable](const std::string& text) { variable = text; }};
}
FlagValue text_flag(std::function<void(const std::string&)> take, const char* placeholder) {
  return {placeholder, "", false, std::move(take)};
}

FlagValue switch_flag(bool& variable) {
  return {"on|off", variable ? "on" : "off", false,
          [&variable](const std::string& text) { variable = on_or_off(text); }};
}

FlagValue on_flag(bool& variable) {
  return {"", "", false, [&variable](const std::string&) { variable = true; }};
}

FlagValue repeated_flag(std::vector<std::string>& variable, const char* placeholder) {
  return {placeholder, "", true,
          [&variable](const std::string& text) { variable.push_back(text); }};
}

FlagList::Adder FlagList::Adder::operator()(const std::string& name, FlagValue value,
                                            const std::string& about) const {
  TESSERA_ASSERT(!list_.has(name));
  list_.entries_.push_back({name, about, std::move(value)});
  return *this;
}

FlagList& FlagList::add(const FlagList& other) {
  for (const std::string& name : other.names()) TESSERA_ASSERT(!has(name));
  others_.push_back(other);
  return *this;
}

const FlagValue* FlagList::find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name) return &entry.value;
  }
  for (const FlagList& other : others_) {
    if (const FlagValue* found = other.find(name)) return found;
  }
  return nullptr;
}

std::vector<std::string> FlagList::names() const {
  std::vector<std::string> out;
  for (const Entry& entry : entries_) out.push_back(entry.name);
  for (const FlagList& other : others_) {
    for (std::string& name : other.names()) out.push_back(std::move(name));
  }
  return out;
}

po::options_description FlagList::described() const {
  po::options_description out(title_);
  for (const Entry& entry : entries_) {
    const std::string name = entry.name == "help" ? "help,h" : entry.name;
    if (entry.value.placeholder.empty()) {
      out.add_options()(name.c_str(), entry.about.c_str());
    } else {
      out.add_options()(name.c_str(), po::value<std::string>()->value_name(value_name(entry.value)),
                        entry.about.c_str());
    }
  }
  for (const FlagList& other : others_) out.add(other.described());
  return out;
}

std::string FlagList::help() const {
  std::ostringstream out;
  out << described();
  return out.str();
}

std::vector<std::string> canonical_flags(std::vector<std::string> args, const FlagList& flags) {
  for (const Alias& alias : kAliases) {
    if (!flags.has(alias.name)) continue;
    const std::string other = cat("--", alias.other);
    for (std::string& arg : args) {
      if (arg == other || arg.starts_with(other + "=")) {
        arg.replace(0, other.size(), cat("--", alias.name));
      }
    }
  }
  return args;
}

std::optional<std::vector<std::string>> parse_flags(const std::vector<std::string>& args,
                                                    const Usage& usage, FlagList& flags) {
  bool help = false;
  const auto allow = [](std::int64_t mib) {
    check_range("--max-memory", static_cast<double>(mib), 0, 1 << 30);
    allow_memory(mib << 20);
  };
  auto add = flags.add_options();
  add("max-memory", number_flag(allow, "MIB"),
      "what files may take where that is more than four times their size and 256 MiB");
  add("help", on_flag(help), "this text; also -h");
  const Parsed all = parsed(canonical_flags(args, flags), usage, flags);
  for (const Given& given : all.flags) help = help || given.name == "help";
  if (help) {
    print_help(usage, flags);
    return std::nullopt;
  }
  for (const Given& given : all.flags) {
    naming("--" + given.name, [&] { flags.find(given.name)->set(given.text); });
  }
  const int count = static_cast<int>(all.words.size());
  check(usage.most > 0 || count == 0, "unexpected argument '", count == 0 ? "" : all.words[0],
        "'; usage: ", usage.line);
  check(count >= usage.least && count <= usage.most, "expected ", usage.expected,
        "; usage: ", usage.line);
  return all.words;
}

}  // namespace tessera::apps
