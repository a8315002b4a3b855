// What people may write as the value of something, and how it reads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace tessera {

// Whole text as a number of any size of its type. Throws Error saying what was expected.
std::int64_t whole_of(const std::string& text);
std::uint64_t unsigned_of(const std::string& text);
double number_of(const std::string& text);
// "on", "yes", "true" or "1", or their opposites. Throws Error.
bool on_or_off(const std::string& text);
// The shortest text that reads back to the number.
std::string exact(double value);

// "1,2,4" as integers; `what` names the flag in messages.
std::vector<std::int64_t> integer_list(const std::string& text, const std::string& what,
                                       std::int64_t min, std::int64_t max);
// "0,0.01" as numbers in [min, max].
std::vector<double> number_list(const std::string& text, const std::string& what, double min,
                                double max);
// "dc,lc" as words, none of them empty.
std::vector<std::string> word_list(const std::string& text, const std::string& what);

// Throws Error when an item of a list of runs stands there twice: its runs are not independent.
template <class List>
const List& distinct(const List& list, const std::string& what) {
  for (auto at = list.begin(); at != list.end(); ++at) {
    check(std::find(list.begin(), at, *at) == at, what, ": '", *at, "' is given twice");
  }
  return list;
}

// Calls `body`, with the flag put in front of what it throws as Error.
template <class Body>
auto naming(const std::string& flag, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with(flag)) throw;  // it does already
    fail(flag, ": ", error.what());
  }
}

// Throws Error unless `value` is finite and in [min, max].
void check_range(const std::string& flag, double value, double min, double max);

}  // namespace tessera
