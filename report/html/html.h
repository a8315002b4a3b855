// Pieces of HTML.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tessera::experiment {

// Text as it may stand in an element or between double quotes. Bytes that no XML text may hold
// become U+FFFD.
std::string escaped(std::string_view text);

// Letters, digits, '-', '_' and '.'; anything else as _XX. Different texts stay different.
std::string id_text(std::string_view text);

// A table of cells that are HTML already. Columns after the first `left` ones are numbers, aligned
// to the right. Of several rows, each column's title is a button that sorts by it.
struct HtmlTable {
  std::string caption = "";  // HTML
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> first = {};  // rows that stay above the others
  std::vector<std::vector<std::string>> rows = {};
  std::vector<std::vector<std::string>> last = {};  // and below: totals
  std::size_t left = 1;
  std::string note = "";  // HTML below the table

  std::string html() const;
};

// Rows of a file of comma-separated values (RFC 4180).
std::string csv_text(const std::vector<std::vector<std::string>>& rows);
// A link that saves `content`, which it holds, as `file`.
std::string download_link(const std::string& words, const std::string& file,
                          const std::string& content);

// A whole document around a body, with the style sheet of reports.
std::string html_page(const std::string& title, const std::string& body);

// Of a page: what it looks like, and what it does when it is used.
extern const char* const kPageStyle;
extern const char* const kPageScript;

}  // namespace tessera::experiment
