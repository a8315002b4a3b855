// Settings that people give by name. A row says what there is: default, range, help and how it is
// kept; Settings hold a value for each. Flags, validation, help and configurations walk the rows.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/named.h"

namespace tessera {

struct Setting {
  using Value = std::variant<std::int64_t, double, bool, std::string>;

  std::string name;  // as of a flag: "mu-growth"
  Value fallback;
  std::string help;
  std::string key = {};          // in configurations; "": no part of them, or told otherwise
  double least = 0, most = 0;    // of numbers
  bool positive = false;         // `least` is 0, which is no value
  std::string placeholder = {};  // of text: "LIST"
  std::function<void(const std::string&)> accepts = {};  // throws Error for text that means nothing

  static Setting whole(std::string name, std::int64_t fallback, std::string help, std::string key,
                       double least, double most) {
    return {std::move(name), fallback, std::move(help), std::move(key), least, most};
  }
  static Setting number(std::string name, double fallback, std::string help, std::string key,
                        double least, double most) {
    return {std::move(name), fallback, std::move(help), std::move(key), least, most};
  }
  // Above 0, and at most 1e9.
  static Setting above_zero(std::string name, double fallback, std::string help, std::string key) {
    return {std::move(name), fallback, std::move(help), std::move(key), 0, 1e9, true};
  }
  static Setting on_off(std::string name, bool fallback, std::string help, std::string key) {
    return {std::move(name), fallback, std::move(help), std::move(key)};
  }
  static Setting text(std::string name, std::string fallback, std::string help, std::string key,
                      std::string placeholder, std::function<void(const std::string&)> accepts) {
    return {std::move(name), std::move(fallback),    std::move(help),   std::move(key), 0, 0,
            false,           std::move(placeholder), std::move(accepts)};
  }
  // One of a table, which outlives it.
  template <class T>
  static Setting choice(std::string name, T fallback, std::string help, std::string key,
                        const Names<T>& names) {
    return text(std::move(name), names.name(fallback), std::move(help), std::move(key),
                names.alternatives(), [&names](const std::string& word) { names.parse(word); });
  }
};

class Settings {
 public:
  // What two users share is added twice, and must be the same.
  void add(const Setting& row);
  void add(const std::vector<Setting>& rows) {
    for (const Setting& row : rows) add(row);
  }
  const std::vector<Setting>& rows() const { return rows_; }
  // Throws Error for an unknown name.
  const Setting& row(std::string_view name) const { return rows_[place(name)]; }
  bool has(std::string_view name) const;

  // Of a row of this kind. Throws Error for an unknown name.
  std::int64_t whole(std::string_view name) const;
  double number(std::string_view name) const;
  bool on(std::string_view name) const;
  const std::string& text(std::string_view name) const;

  // Throws Error for an unknown name and a value of another kind; a whole number is a number.
  void set(std::string_view name, Setting::Value value);
  void set(std::initializer_list<std::pair<const char*, Setting::Value>> values) {
    for (const auto& [name, value] : values) set(name, value);
  }
  // As people write it. Throws Error saying what was expected.
  void read(std::string_view name, const std::string& text);
  bool given(std::string_view name) const { return given_[place(name)]; }  // by read()
  // Throws Error, naming the flag --NAME, for a value out of its row's range.
  void validate() const;
  // As configurations have it, which reads back to the same.
  std::string shown(std::string_view name) const;

 private:
  std::size_t place(std::string_view name) const;

  std::vector<Setting> rows_;
  std::vector<Setting::Value> values_;
  std::vector<bool> given_;
};

}  // namespace tessera
