#include "core/settings.h"

#include <cmath>

#include "core/values.h"

namespace tessera {

namespace {

void check_value(const Setting& row, const Setting::Value& value) {
  const std::string flag = "--" + row.name;
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (row.accepts) naming(flag, [&] { row.accepts(*text); });
    return;
  }
  if (std::holds_alternative<bool>(value)) return;
  const auto* whole = std::get_if<std::int64_t>(&value);
  const double number = whole ? static_cast<double>(*whole) : std::get<double>(value);
  if (!row.positive) return check_range(flag, number, row.least, row.most);
  check(number > 0 && number <= row.most, flag, " must be positive and at most ", row.most,
        ", got ", number);
}

}  // namespace

std::size_t Settings::place(std::string_view name) const {
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].name == name) return i;
  }
  std::vector<std::string> names;
  for (const Setting& row : rows_) names.push_back(row.name);
  fail_unknown("setting", name, names);
}

bool Settings::has(std::string_view name) const {
  for (const Setting& row : rows_) {
    if (row.name == name) return true;
  }
  return false;
}

void Settings::add(const Setting& row) {
  if (has(row.name)) {
    const Setting& there = rows_[place(row.name)];
    check(there.fallback == row.fallback && there.help == row.help && there.key == row.key &&
              there.least == row.least && there.most == row.most,
          "two settings are called '", row.name, "'");
    return;
  }
  rows_.push_back(row);
  values_.push_back(row.fallback);
  given_.push_back(false);
}

std::int64_t Settings::whole(std::string_view name) const {
  return std::get<std::int64_t>(values_[place(name)]);
}
double Settings::number(std::string_view name) const {
  return std::get<double>(values_[place(name)]);
}
bool Settings::on(std::string_view name) const {
  return std::get<bool>(values_[place(name)]);
}
const std::string& Settings::text(std::string_view name) const {
  return std::get<std::string>(values_[place(name)]);
}

void Settings::set(std::string_view name, Setting::Value value) {
  Setting::Value& now = values_[place(name)];
  const auto* whole = std::get_if<std::int64_t>(&value);
  if (whole && std::holds_alternative<double>(now)) value = static_cast<double>(*whole);
  check(value.index() == now.index(), "setting '", name, "' is of another kind");
  now = std::move(value);
}

void Settings::read(std::string_view name, const std::string& text) {
  const Setting::Value& now = values_[place(name)];
  given_[place(name)] = true;
  if (std::holds_alternative<std::int64_t>(now)) return set(name, whole_of(text));
  if (std::holds_alternative<double>(now)) return set(name, number_of(text));
  if (std::holds_alternative<bool>(now)) return set(name, on_or_off(text));
  set(name, text);
}

void Settings::validate() const {
  for (std::size_t i = 0; i < rows_.size(); ++i) check_value(rows_[i], values_[i]);
}

std::string Settings::shown(std::string_view name) const {
  const Setting::Value& value = values_[place(name)];
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* number = std::get_if<double>(&value)) return exact(*number);
  if (const auto* on = std::get_if<bool>(&value)) return *on ? "on" : "off";
  return std::get<std::string>(value);
}

}  // namespace tessera
