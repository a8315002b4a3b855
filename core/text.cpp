#include "core/text.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/error.h"

namespace tessera {

namespace {

// The bytes of the UTF-8 character that `text` begins with; 0 when it begins with none.
std::size_t character(std::string_view text, std::uint32_t& code) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  const std::size_t size = first < 0x80    ? 1
                           : first < 0xc2  ? 0
                           : first < 0xe0  ? 2
                           : first < 0xf0  ? 3
                           : first <= 0xf4 ? 4
                                           : 0;
  if (size == 0 || size > text.size()) return 0;
  code = size == 1 ? first : first & (0x7fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fu);
  }
  const bool overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return overlong || surrogate || code > 0x10ffff ? 0 : size;
}

bool harmless(std::uint32_t code) {
  constexpr std::pair<std::uint32_t, std::uint32_t> kHarmful[] = {
      {0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},
      {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2066, 0x2069}};
  return std::none_of(std::begin(kHarmful), std::end(kHarmful),
                      [&](const auto& r) { return code >= r.first && code <= r.second; });
}

}  // namespace

std::string escaped(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    std::uint32_t code = 0;
    const std::size_t size = character(text, code);
    const std::string_view bytes = text.substr(0, std::max<std::size_t>(size, 1));
    text.remove_prefix(bytes.size());
    if (size > 0 && harmless(code)) {
      out += bytes;
      continue;
    }
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 80;
  if (text.size() <= kMost) return escaped(text);
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return escaped(text.substr(0, end)) + "...";
}

std::string quote(std::string_view text) {
  return cat('\'', printable(text), '\'');
}

std::ostream& operator<<(std::ostream& out, const Quoted& quoted) {
  return out << quote(quoted.text);
}

std::string fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

std::string capitalized(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

}  // namespace tessera
