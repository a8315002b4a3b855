// Whether markup is well-formed, as far as pages of ours go.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"

namespace tessera::testing {

// "" for well-formed markup: every element closed in order, attributes quoted and none twice, no
// bare
// '<' or '&', ids given once; else what is wrong. The content of script and style is not looked at.
inline std::string markup_error(const std::string& text) {
  std::vector<std::string> open;
  std::set<std::string> ids;
  const auto near = [&](std::size_t at) { return " near '" + text.substr(at, 40) + "'"; };
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '&') {
      const std::size_t end = text.find(';', i);
      if (end == text.npos || end - i > 8) return "bare &" + near(i);
    }
    if (text[i] == '>') return "bare >" + near(i);
    if (text[i] != '<') {
      ++i;
      continue;
    }
    if (text.compare(i, 9, "<!DOCTYPE") == 0) {
      i = text.find('>', i) + 1;
      continue;
    }
    const bool closing = text[i + 1] == '/';
    std::size_t at = i + 1 + closing;
    std::string name;
    while (at < text.size() && std::isalnum(static_cast<unsigned char>(text[at]))) {
      name += text[at++];
    }
    if (name.empty()) return "bare <" + near(i);
    std::set<std::string> attributes;
    while (true) {
      while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
      if (at >= text.size()) return "<" + name + " does not end";
      if (text[at] == '>' || text[at] == '/') break;
      const std::size_t equals = text.find("=\"", at);
      const std::size_t end = equals == text.npos ? equals : text.find('"', equals + 2);
      if (end == text.npos) return "attribute" + near(at);
      const std::string key = text.substr(at, equals - at),
                        value = text.substr(equals + 2, end - equals - 2);
      if (key.find_first_of(" <>/") != key.npos) return "attribute" + near(at);
      if (value.find('<') != value.npos) return "< in an attribute" + near(at);
      if (!attributes.insert(key).second) return key + " twice" + near(i);
      if (key == "id" && !ids.insert(value).second) return "id " + value + " twice";
      at = end + 1;
    }
    const bool empty = text[at] == '/';
    i = text.find('>', at) + 1;
    if (empty) continue;
    if (!closing) {
      open.push_back(name);
      if (name == "style" || name == "script") i = text.find("</" + name, i);
      continue;
    }
    if (open.empty() || open.back() != name) return "</" + name + "> closes nothing" + near(at);
    open.pop_back();
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

// "" when the text of every drawing lies inside it and labels in one line have room beside each
// other, by the width of a character as the style sheet sets it; else which does not.
inline std::string label_error(const std::string& html) {
  constexpr double kCharacter = 7.2;  // of the widest of usual fonts
  const auto value = [](const std::string& tag, const std::string& name) -> std::optional<double> {
    const std::size_t at = tag.find(" " + name + "=\"");
    if (at == tag.npos) return std::nullopt;
    return std::stod(tag.substr(at + name.size() + 3));
  };
  double width = 0, height = 0, line_y = 0, line_x = 0, line_end = -1e9;
  int anchor = 0;  // 0 start, 1 middle, 2 end
  for (std::size_t i = html.find('<'); i != html.npos; i = html.find('<', i + 1)) {
    const std::size_t end = html.find('>', i);
    const std::string tag = html.substr(i, end - i);
    if (tag.starts_with("<svg ")) {
      const std::size_t box = tag.find("viewBox=\"0 0 ");
      if (box == tag.npos) return "a drawing without a size";
      const std::string size = tag.substr(box + 13);
      width = std::stod(size);
      height = std::stod(size.substr(size.find(' ')));
    }
    const bool text = tag.starts_with("<text"), span = tag.starts_with("<tspan");
    if (text) {
      anchor = tag.find("tx\"") != tag.npos ? 1 : tag.find("ty\"") != tag.npos ? 2 : 0;
      line_end = -1e9;
      if (tag.find("transform") != tag.npos) continue;
    }
    if (!text && !span) continue;
    const double y = value(tag, "y").value_or(line_y), x = value(tag, "x").value_or(line_x);
    if (span && y != line_y) line_end = -1e9;
    line_y = y;
    line_x = x;
    std::string words = html.substr(end + 1, html.find('<', end) - end - 1);
    for (std::size_t at = 0; (at = words.find('&', at)) != words.npos; ++at) {
      words.replace(at, words.find(';', at) - at + 1, "&");
    }
    std::erase_if(words, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; });
    if (words.empty()) continue;
    const double long_ = kCharacter * static_cast<double>(words.size());
    const double begin = x - 0.5 * anchor * long_, stop = begin + long_;
    if (begin < -0.5 || stop > width + 0.5 || y < 6 || y > height) {
      return "'" + words + "' is cut";
    }
    if (begin < line_end + 3) return "'" + words + "' is over its neighbour";
    line_end = stop;
  }
  return "";
}

}  // namespace tessera::testing
