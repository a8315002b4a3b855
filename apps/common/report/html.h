// Pieces of HTML.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tessera::apps {

// Text as it may stand in an element or between double quotes. Bytes that no XML text may hold
// become U+FFFD.
std::string escaped(std::string_view text);

// Letters, digits, '-', '_' and '.'; anything else as _XX. Different texts stay different.
std::string id_text(std::string_view text);

// A table of cells that are HTML already. Columns after the first `left` ones are numbers, aligned
// to the right.
struct HtmlTable {
  std::string caption = "";  // HTML
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows = {};
  std::size_t left = 1;

  std::string html() const;
};

// A whole document around a body, with the style sheet of reports.
std::string html_page(const std::string& title, const std::string& body);

}  // namespace tessera::apps
