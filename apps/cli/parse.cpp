#include "apps/cli/parse.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <iostream>
#include <set>
#include <utility>

#include "core/files/atomic_file.h"
#include "core/memory_rule.h"
#include "core/words.h"
#include "report/terminal.h"

namespace tessera::apps {

namespace po = boost::program_options;

namespace {

namespace style = po::command_line_style;
constexpr int kStyle = style::default_style & ~style::allow_guessing;
constexpr std::size_t kColumns = 80, kAboutColumn = 40;  // of help
constexpr const char* kWord = "argument";                // what has no flag

// Flags that take one or several of something, by the name that people also give them.
struct Alias {
  std::string_view other, name;
};
constexpr Alias kAliases[] = {{"seeds", "seed"}, {"methods", "method"}};

void print_help(const Usage& usage, const FlagList& flags) {
  std::cout << "usage: " << usage.line << "\n"
            << wrapped(usage.about, int{kColumns}) << "\n"
            << help_text(flags);
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

po::options_description described(const FlagList& flags) {
  po::options_description out(flags.title());
  for (const FlagList::Entry& entry : flags.entries()) {
    const std::string name = entry.name == "help" ? "help,h" : entry.name;
    if (entry.value.placeholder.empty()) {
      out.add_options()(name.c_str(), entry.about.c_str());
    } else {
      out.add_options()(name.c_str(), po::value<std::string>()->value_name(value_name(entry.value)),
                        entry.about.c_str());
    }
  }
  for (const FlagList& other : flags.others()) out.add(described(other));
  return out;
}

// Broken at spaces; a word that is longer behind its last comma that fits.
std::vector<std::string> lines_of(const std::string& text, std::size_t columns) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.size();
    if (end - at > columns) {
      end = text.rfind(' ', at + columns);
      if (end == text.npos || end <= at) end = text.rfind(',', at + columns - 1) + 1;
      if (end <= at || end - at > columns) end = at + columns;
    }
    out.push_back(text.substr(at, end - at));
    at = text.find_first_not_of(' ', end);
  }
  return out;
}

// Where offered_flags() collects them; null: command lines are parsed.
thread_local std::vector<OfferedFlag>* offered = nullptr;

void offer(const FlagList& flags) {
  for (const FlagList::Entry& entry : flags.entries())
    offered->push_back({entry.name, entry.value.placeholder});
  for (const FlagList& other : flags.others()) offer(other);
}

struct Given {
  std::string name, text;
};

struct Parsed {
  std::vector<Given> flags;  // as they were given
  std::vector<std::string> words;
};

Parsed parsed(const std::vector<std::string>& args, const Usage& usage, const FlagList& flags) {
  po::options_description all = described(flags);
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

std::string help_text(const FlagList& flags) {
  std::string out = flags.title() + ":\n";
  for (const FlagList::Entry& entry : flags.entries()) {
    std::string left = entry.name == "help" ? "  -h [ --help ]" : "  --" + entry.name;
    if (!entry.value.placeholder.empty()) left += " " + value_name(entry.value);
    if (left.size() + 1 >= kAboutColumn) out += std::exchange(left, "") + "\n";
    for (const std::string& line : lines_of(entry.about, kColumns - kAboutColumn)) {
      left.resize(kAboutColumn, ' ');
      out += std::exchange(left, "") + line + "\n";
    }
  }
  for (const FlagList& other : flags.others()) out += "\n" + help_text(other);
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
  if (offered != nullptr) {
    offer(flags);
    return std::nullopt;
  }
  const Parsed all = parsed(canonical_flags(args, flags), usage, flags);
  for (const Given& given : all.flags) help = help || given.name == "help";
  if (help) {
    print_help(usage, flags);
    return std::nullopt;
  }
  for (const Given& given : all.flags) {
    naming("--" + given.name, [&] { flags.find(given.name)->set(given.text); });
    flags.mark_given(given.name);
  }
  const int count = static_cast<int>(all.words.size());
  check(usage.most > 0 || count == 0, "unexpected argument '", count == 0 ? "" : all.words[0],
        "'; usage: ", usage.line);
  check(count >= usage.least && count <= usage.most, "expected ", usage.expected,
        "; usage: ", usage.line);
  return all.words;
}

std::vector<OfferedFlag> offered_flags(const std::function<void()>& call) {
  std::vector<OfferedFlag> out;
  offered = &out;
  try {
    call();
  } catch (...) {
    offered = nullptr;
    throw;
  }
  offered = nullptr;
  return out;
}

void require_new(const std::filesystem::path& file, bool overwrite) {
  check(overwrite || !file_exists(file), file.string(),
        " is there already; --overwrite replaces it");
}

}  // namespace tessera::apps
