#include "experiment/flag_list.h"

#include <charconv>
#include <limits>
#include <type_traits>
#include <utility>

#include "core/text.h"
#include "experiment/flags.h"

namespace tessera::experiment {

namespace {

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

}  // namespace tessera::experiment
