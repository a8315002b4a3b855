#include "apps/common/flag_list.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>

#include "apps/common/flags.h"
#include "core/memory_rule.h"
#include "core/text.h"
#include "core/words.h"

namespace tessera::apps {

namespace {

constexpr std::size_t kColumns = 80, kMostWidth = 32;  // of --help, and of its first column

// Flags that take one or several of something, by the name that people also give them.
struct Alias {
  std::string_view other, name;
};
constexpr Alias kAliases[] = {{"seeds", "seed"}, {"methods", "method"}};

template <class T>
T number_of(const std::string& text) {
  using Limits = std::numeric_limits<T>;
  const std::size_t sign = text.starts_with('+') ? 1 : 0;
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

// `text` from `column` on, in lines of at most kColumns; the first line begins there already.
std::string wrapped(const std::string& text, std::size_t column) {
  const std::size_t room = kColumns - column;
  std::string out;
  std::size_t begin = 0;
  while (text.size() - begin > room) {
    std::size_t end = text.rfind(' ', begin + room);
    if (end == text.npos || end <= begin) end = std::min(text.find(' ', begin), text.size());
    out += text.substr(begin, end - begin);
    begin = std::min(text.size(), end + 1);
    if (begin < text.size()) out += "\n" + std::string(column, ' ');
  }
  return out + text.substr(begin) + "\n";
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

bool is_flag(const std::string& arg) {
  return arg.size() > 1 && arg[0] == '-';
}

// "--name=value" -> "name".
std::string name_of(const std::string& arg) {
  return arg.starts_with("--") ? arg.substr(2, arg.find('=') - 2) : arg == "-h" ? "help" : "";
}

struct Given {
  std::string name, text;
  const FlagValue* value;
};

struct Parsed {
  std::vector<Given> flags;
  std::vector<std::string> words;
};

Parsed parsed(const std::vector<std::string>& args, const Usage& usage, const FlagList& flags) {
  Parsed out;
  std::set<std::string> seen;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") {
      out.words.insert(out.words.end(), args.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                       args.end());
      break;
    }
    if (!is_flag(arg)) {
      out.words.push_back(arg);
      continue;
    }
    Given given{name_of(arg), "", nullptr};
    given.value = flags.find(given.name);
    const std::size_t equals = arg.find('=');
    if (given.value == nullptr) fail_flag(arg.substr(0, equals), usage, flags);
    const bool takes = !given.value->placeholder.empty();
    check(takes || equals == arg.npos, "--", given.name, " takes no value, got ", quote(arg));
    check(seen.insert(given.name).second || given.value->repeats, "--", given.name,
          " is given twice");
    if (equals != arg.npos) {
      given.text = arg.substr(equals + 1);
    } else if (takes && i + 1 < args.size() && !flags.has(name_of(args[i + 1]))) {
      given.text = args[++i];
    }
    check(!takes || !given.text.empty(), "--", given.name, ": a value is missing (",
          given.value->placeholder, ")");
    out.flags.push_back(std::move(given));
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

namespace {

// "  --lr X (=0.1)"
std::string syntax(const std::string& name, const FlagValue& value) {
  return cat("  --", name, value.placeholder.empty() ? "" : " ", value.placeholder,
             value.fallback.empty() ? "" : cat(" (=", value.fallback, ")"));
}

}  // namespace

std::size_t FlagList::width() const {
  std::size_t out = 0;
  for (const Entry& entry : entries_) {
    out = std::max(out, syntax(entry.name, entry.value).size());
  }
  for (const FlagList& other : others_) out = std::max(out, other.width());
  return out;
}

std::string FlagList::help() const {
  return help(std::min(width(), kMostWidth) + 2);
}

std::string FlagList::help(std::size_t column) const {
  std::string out = title_ + ":\n";
  for (const Entry& entry : entries_) {
    std::string line = syntax(entry.name, entry.value);
    if (line.size() + 2 > column) {
      line += "\n" + std::string(column, ' ');
    } else {
      line.resize(column, ' ');
    }
    out += line + wrapped(entry.about, column);
  }
  for (const FlagList& other : others_) out += "\n" + other.help(column);
  return out;
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
    naming("--" + given.name, [&] { given.value->set(given.text); });
  }
  const int count = static_cast<int>(all.words.size());
  check(usage.most > 0 || count == 0, "unexpected argument '", count == 0 ? "" : all.words[0],
        "'; usage: ", usage.line);
  check(count >= usage.least && count <= usage.most, "expected ", usage.expected,
        "; usage: ", usage.line);
  return all.words;
}

}  // namespace tessera::apps
