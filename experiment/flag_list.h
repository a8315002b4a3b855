// What an experiment can be told by name: each name, what it does with a value, and what is said
// about it. Programs make flags of a command line of them (apps/cli/parse.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/settings.h"

namespace tessera::experiment {

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
// `given`: becomes true with a value.
FlagValue flag(double& variable, const char* placeholder = "N", bool* given = nullptr);
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
  struct Entry {
    std::string name, about;
    FlagValue value;
  };

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
  // A setting, which outlives the list.
  FlagList& add(Settings& settings, const std::string& name);
  // Those that were given a value, in their order.
  void mark_given(const std::string& name) { given_.push_back(name); }
  const std::vector<std::string>& given() const { return given_; }
  // Another list under its own title.
  FlagList& add(const FlagList& other);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  std::vector<std::string> names() const;
  const FlagValue* find(std::string_view name) const;  // nullptr: there is none

  const std::string& title() const { return title_; }
  const std::vector<Entry>& entries() const { return entries_; }  // its own
  const std::vector<FlagList>& others() const { return others_; }

 private:
  std::string title_;
  std::vector<Entry> entries_;
  std::vector<FlagList> others_;
  std::vector<std::string> given_;
};

}  // namespace tessera::experiment
