#include "report/html/html.h"

#include "core/error.h"

namespace tessera::experiment {

namespace {

// Colours of series: as a line, and as a filled shape.
std::string series_style() {
  std::string out;
  for (int i = 0; i < 10; ++i) {
    out += cat(".s", i, " { stroke: var(--c", i, "); } .f", i, " { fill: var(--c", i, "); }\n");
  }
  return out + ".sr { stroke: var(--grey); } .fr { fill: var(--grey); }\n";
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (byte == 0x7f || (byte < 0x20 && c != '\n' && c != '\t')) {
      out += "\xef\xbf\xbd";
    } else {
      out += c;
    }
  }
  return out;
}

std::string id_text(std::string_view text) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.';
    if (plain) {
      out += c;
    } else {
      out += '_';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

std::string HtmlTable::html() const {
  std::string out = "<figure class=\"table\">";
  if (!caption.empty()) out += "<figcaption>" + caption + "</figcaption>";
  // A table that is wider than the page moves in a frame of its own, by keys as well.
  out += "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"table\"><table>";
  const auto place = [&](std::size_t column) { return column < left ? " class=\"left\"" : ""; };
  const bool sorts = rows.size() > 1;
  out += "<thead><tr>";
  for (std::size_t c = 0; c < header.size(); ++c) {
    out += cat("<th scope=\"col\"", place(c), ">", sorts ? "<button type=\"button\">" : "",
               header[c], sorts ? "</button>" : "", "</th>");
  }
  out += "</tr></thead>";
  const auto part = [&](const char* open, const auto& some, const char* close) {
    if (some.empty()) return;
    out += cat(open, "\n");
    for (const auto& row : some) {
      out += "<tr>";
      for (std::size_t c = 0; c < row.size(); ++c) {
        out += cat("<td", place(c), ">", row[c], "</td>");
      }
      out += "</tr>\n";
    }
    out += close;
  };
  part("<tbody>", first, "</tbody>");
  part("<tbody class=\"rows\">", rows, "</tbody>");
  part("<tfoot>", last, "</tfoot>");
  return cat(out, "</table></div>", note.empty() ? "" : "<p class=\"soft\">" + note + "</p>",
             "</figure>\n");
}

std::string csv_text(const std::vector<std::vector<std::string>>& rows) {
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (c > 0) out += ',';
      if (row[c].find_first_of(",\"\r\n") == std::string::npos) {
        out += row[c];
        continue;
      }
      out += '"';
      for (const char character : row[c]) {
        out += character;
        if (character == '"') out += '"';
      }
      out += '"';
    }
    out += "\r\n";
  }
  return out;
}

std::string download_link(const std::string& words, const std::string& file,
                          const std::string& content) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  std::string data;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~,:+=()").find(c) != std::string_view::npos;
    if (plain) {
      data += c;
    } else {
      data += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return cat("<a class=\"download\" download=\"", escaped(file),
             "\" href=\"data:text/csv;charset=utf-8,", data, "\">", escaped(words), "</a>");
}

std::string html_page(const std::string& title, const std::string& body) {
  return cat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n",
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
             escaped(title), "</title>\n<style>", kPageStyle, series_style(),
             "</style></head>\n<body>\n", body, "<script>", kPageScript,
             "</script>\n</body></html>\n");
}

}  // namespace tessera::experiment
