#include "core/values.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/text.h"

namespace tessera {

namespace {

template <class T>
T parsed(const std::string& text) {
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

}  // namespace

std::int64_t whole_of(const std::string& text) {
  return parsed<std::int64_t>(text);
}
std::uint64_t unsigned_of(const std::string& text) {
  return parsed<std::uint64_t>(text);
}
double number_of(const std::string& text) {
  return parsed<double>(text);
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

std::string exact(double value) {
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return {buffer, result.ptr};
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

namespace {

// 1048576, where a stream would write 1.04858e+06.
std::string plain(double value) {
  constexpr double kExact = 1e15;
  if (value == std::floor(value) && std::abs(value) < kExact) {
    return std::to_string(static_cast<std::int64_t>(value));
  }
  return cat(value);
}

}  // namespace

void check_range(const std::string& flag, double value, double min, double max) {
  check(std::isfinite(value) && value >= min && value <= max, flag, " must be ", plain(min), " to ",
        plain(max), ", got ", plain(value));
}

}  // namespace tessera
