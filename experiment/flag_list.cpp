#include "experiment/flag_list.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "core/text.h"
#include "core/values.h"

namespace tessera::experiment {

namespace {

template <class T>
FlagValue number(T& variable, const char* placeholder) {
  return {placeholder, cat(variable), false, [&variable](const std::string& text) {
            if constexpr (std::is_floating_point_v<T>) {
              variable = number_of(text);
            } else if constexpr (std::is_unsigned_v<T>) {
              variable = unsigned_of(text);
            } else {
              const std::int64_t value = whole_of(text);
              check(std::in_range<T>(value), "expected a whole number from ",
                    std::numeric_limits<T>::lowest(), " to ", std::numeric_limits<T>::max(),
                    ", got ", quote(text));
              variable = static_cast<T>(value);
            }
          }};
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
FlagValue flag(double& variable, const char* placeholder, bool* given) {
  FlagValue out = number(variable, placeholder);
  if (given == nullptr) return out;
  out.set = [set = std::move(out.set), given](const std::string& text) {
    set(text);
    *given = true;
  };
  return out;
}

FlagValue number_flag(std::function<void(std::int64_t)> take, const char* placeholder) {
  return {placeholder, "", false,
          [take = std::move(take)](const std::string& text) { take(whole_of(text)); }};
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

FlagList& FlagList::add(Settings& settings, const std::string& name) {
  const Setting& row = settings.row(name);
  const bool whole = std::holds_alternative<std::int64_t>(row.fallback),
             on_off = std::holds_alternative<bool>(row.fallback);
  FlagValue value;
  value.placeholder = !row.placeholder.empty() ? row.placeholder
                      : whole                  ? "N"
                      : on_off                 ? "on|off"
                                               : "X";
  value.fallback = settings.shown(name);
  value.set = [&settings, name](const std::string& text) { settings.read(name, text); };
  add_options()(name, std::move(value), row.help);
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
