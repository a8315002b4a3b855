// The flags of a command line: what each does with its value, --help, and the parser
// (Boost.Program_options, whose headers no other file reads).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace boost::program_options {
class options_description;
}

namespace tessera::apps {

// What a flag does with its value.
struct FlagValue {
  std::string placeholder;  // of the value, in --help; "": the flag takes none
  std::string fallback;     // that --help shows; "": none is worth showing
  bool repeats = false;     // may be given several times
  std::function<void(const std::string& text)> set;  // throws Error for a bad one
};

// A number, whose default is what the variable holds.
FlagValue flag(int& variable, const char* placeholder = "N");
FlagValue flag(std::int64_t& variable, const char* placeholder = "N");
FlagValue flag(std::uint64_t& variable, const char* placeholder = "N");
FlagValue flag(double& variable, const char* placeholder = "N");
// A whole number without a default, for who looks at it first.
FlagValue number_flag(std::function<void(std::int64_t)> take, const char* placeholder = "N");
// Text, whose default is shown unless it is empty.
FlagValue text_flag(std::string& variable, const char* placeholder = "TEXT");
// Text without a default, for who looks at it first.
FlagValue text_flag(std::function<void(const std::string&)> take, const char* placeholder);
// "on" or "off".
FlagValue switch_flag(bool& variable);
// Without a value: the variable becomes true.
FlagValue on_flag(bool& variable);
// Texts that may be given several times.
FlagValue repeated_flag(std::vector<std::string>& variable, const char* placeholder);

class FlagList {
 public:
  explicit FlagList(std::string title) : title_(std::move(title)) {}

  // Adds one flag after the other: auto add = flags.add_options(); add("lr", flag(lr), "rate");
  class Adder {
   public:
    Adder operator()(const std::string& name, FlagValue value, const std::string& about) const;

   private:
    friend FlagList;
    explicit Adder(FlagList& list) : list_(list) {}
    FlagList& list_;
  };
  Adder add_options() { return Adder(*this); }
  // Another list under its own title.
  FlagList& add(const FlagList& other);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  std::vector<std::string> names() const;
  const FlagValue* find(std::string_view name) const;  // nullptr: there is none
  // Every flag with its default and what it is, in lines of 80 columns.
  std::string help() const;
  boost::program_options::options_description described() const;

 private:
  struct Entry {
    std::string name, about;
    FlagValue value;
  };

  std::string title_;
  std::vector<Entry> entries_;
  std::vector<FlagList> others_;
};

struct Usage {
  std::string line;   // "mnist eval MODEL.json [flags]"
  std::string about;  // what it does
  // Arguments without a flag.
  int least = 0, most = 0;
  std::string expected = {};               // "one model file"
  std::vector<std::string> examples = {};  // whole command lines
};

// Parses the arguments of a verb into the variables its flags are bound to and returns those
// without a flag (all of them behind "--"); nothing when --help was given, after printing it. A
// value follows its flag or stands behind '='. Flags are spelled out: an abbreviation that is
// unique today may not be tomorrow; --seeds and --methods stand for --seed and --method wherever
// there is one. Throws Error for what is unknown, bad, missing or given twice; no variable is set
// before all of them are known.
std::optional<std::vector<std::string>> parse_flags(const std::vector<std::string>& args,
                                                    const Usage& usage, FlagList& flags);

// `args` with --seed and --method, where `flags` have them, in place of their other names.
std::vector<std::string> canonical_flags(std::vector<std::string> args, const FlagList& flags);

}  // namespace tessera::apps
