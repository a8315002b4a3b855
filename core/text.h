// Text of others (names in files, paths) in messages and tables.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>

namespace tessera {

// As it may stand in a line on a terminal: control characters (also the eight-bit ones), line
// separators, marks that turn the direction of writing and bytes that are not UTF-8 become \xNN.
std::string escaped(std::string_view text);
// The same, cut to 80 bytes; and in single quotes.
std::string printable(std::string_view text);
std::string quote(std::string_view text);

// quote(text) where it is written to a stream: the argument of a check() that holds costs nothing.
struct Quoted {
  std::string_view text;
  friend std::ostream& operator<<(std::ostream& out, const Quoted& quoted);
};
// With so many digits behind the point: "2.13".
std::string fixed(double value, int digits);
// "Test" of "test".
std::string capitalized(std::string text);

}  // namespace tessera
