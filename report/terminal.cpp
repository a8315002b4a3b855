#include "report/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string_view>

namespace tessera::experiment {

namespace {

constexpr int kUsual = 80, kWidestText = 100;

}  // namespace

int terminal_columns(int descriptor) {
  if (!::isatty(descriptor)) return 0;
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  int columns = 0;
  if (const char* text = std::getenv("COLUMNS")) {
    const std::string_view number(text);
    std::from_chars(number.data(), number.data() + number.size(), columns);
  }
  return columns > 0 ? columns : kUsual;
}

int terminal_columns(const std::ostream& out) {
  if (&out == &std::cout) return terminal_columns(STDOUT_FILENO);
  return &out == &std::cerr ? terminal_columns(STDERR_FILENO) : 0;
}

std::string wrapped(const std::string& text, int columns) {
  const auto most =
      static_cast<std::size_t>(columns == 0 || columns > kWidestText ? kWidestText : columns);
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::size_t length = 0;
    for (std::string word; words >> word;) {
      const bool first = length == 0, fits = length + 1 + word.size() <= most;
      if (!first) out += fits ? ' ' : '\n';
      length = first || !fits ? word.size() : length + 1 + word.size();
      out += word;
    }
    out += '\n';
  }
  return out;
}

}  // namespace tessera::experiment
