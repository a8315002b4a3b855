// Whether markup is well-formed, as far as pages of ours go.
#pragma once

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

}  // namespace tessera::testing
