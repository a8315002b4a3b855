#include "apps/common/report/html.h"

#include "core/error.h"

namespace tessera::apps {

namespace {

// Ten colours that differ in print and for most eyes, darker on white, lighter on black.
constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --page: #fff; --ink: #1c2024; --soft: #5b6570; --line: #d8dde2;
  --card: #f7f8fa; --mark: #e8f2ec; --bad: #b3261e; --grey: #9aa4ae;
  --c0: #1f66b0; --c1: #cf4a14; --c2: #15803d; --c3: #8b3fb0; --c4: #a16207; --c5: #0e7f8c;
  --c6: #be185d; --c7: #4d5b6b; --c8: #6b7f12; --c9: #7c4a2d; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --ink: #e6e9ec; --soft: #9aa5b1;
  --line: #343b43; --card: #1d2126; --mark: #1d3528; --bad: #ff8a80; --grey: #6c7681;
  --c0: #6cb0f5; --c1: #ff8f5c; --c2: #5fcf86; --c3: #cf95ee; --c4: #e0b04a; --c5: #4fc8d6;
  --c6: #f58abc; --c7: #a9b6c4; --c8: #bccf5a; --c9: #cf9f82; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 24px 80px; max-width: 1180px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 6px; }
p { margin: 4px 0 12px; max-width: 80ch; } .soft, figcaption { color: var(--soft); }
.lead { color: var(--soft); margin-bottom: 18px; }
nav a { margin-right: 16px; } a { color: var(--c0); text-decoration: none; }
a:hover { text-decoration: underline; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 10px 0 16px; }
caption { text-align: left; color: var(--soft); padding-bottom: 6px; max-width: 90ch; }
th, td { padding: 5px 14px 5px 10px; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th.left, td.left { text-align: left; } td.text { white-space: normal; text-align: left; }
td a { color: inherit; } .best { background: var(--mark); font-weight: 600; border-radius: 4px;
  padding: 2px 6px; margin-right: -6px; }
.delta { color: var(--soft); font-size: 12.5px; font-weight: 400; display: block; line-height: 1.2; }
.bad { color: var(--bad); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(350px, 1fr)); gap: 14px 18px; }
figure { margin: 0; break-inside: avoid; } figcaption { font-size: 13px; font-weight: 600; }
figure.big { max-width: 940px; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11.5px system-ui, "Segoe UI", "Liberation Sans", sans-serif; fill: var(--soft);
  paint-order: stroke; stroke: var(--page); stroke-width: 3px; stroke-linejoin: round; }
svg text.name { fill: var(--ink); font-weight: 600; }
.axis { stroke: var(--soft); fill: none; } .gridline { stroke: var(--line); fill: none; }
.gridline.minor { stroke-opacity: 0.45; }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.thin { stroke-width: 1; } .dashed { stroke-dasharray: 5 4; } .faint { stroke-opacity: 0.4; }
.mark { stroke: var(--page); stroke-width: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; margin: 4px 0 10px; }
.legend span { display: inline-flex; align-items: center; gap: 6px; }
.legend svg { width: 30px; height: 12px; flex: none; }
details { border: 1px solid var(--line); border-radius: 8px; margin: 8px 0; background: var(--card); }
details > summary { cursor: pointer; padding: 8px 14px; } details > div { padding: 2px 14px 12px; }
details svg text { stroke: var(--card); } .pair svg + svg { margin-top: 4px; }
details details { background: var(--page); } summary b { font-weight: 600; }
summary .soft { float: right; }
code { font: 12.5px ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
@media print { :root { color-scheme: light; --page: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --card: #fff; --mark: #e8f2ec; --bad: #b3261e; --grey: #999;
  --c0: #1f66b0; --c1: #cf4a14; --c2: #15803d; --c3: #8b3fb0; --c4: #a16207; --c5: #0e7f8c;
  --c6: #be185d; --c7: #4d5b6b; --c8: #6b7f12; --c9: #7c4a2d; }
  body { max-width: none; padding: 0; font-size: 12px; } nav, details:not([open]) { display: none; }
  h2 { break-after: avoid; } .grid { grid-template-columns: repeat(2, 1fr); } }
)";

// Colours of series: as a line, and as a filled shape.
std::string series_style() {
  std::string out;
  for (int i = 0; i < 10; ++i) {
    out += cat(".s", i, " { stroke: var(--c", i, "); } .f", i, " { fill: var(--c", i, "); }\n");
  }
  return out + ".sr { stroke: var(--grey); } .fr { fill: var(--grey); }\n";
}

// A link to a run opens it.
constexpr const char* kScript = R"(
function show() {
  const run = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (run && run.tagName === "DETAILS") { run.open = true; run.scrollIntoView(); }
}
addEventListener("hashchange", show); show();
)";

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
  std::string out = "<div class=\"wide\"><table>";
  if (!caption.empty()) out += "<caption>" + caption + "</caption>";
  const auto place = [&](std::size_t column) { return column < left ? " class=\"left\"" : ""; };
  out += "<thead><tr>";
  for (std::size_t c = 0; c < header.size(); ++c) {
    out += cat("<th", place(c), ">", header[c], "</th>");
  }
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) out += cat("<td", place(c), ">", row[c], "</td>");
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string html_page(const std::string& title, const std::string& body) {
  return cat("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n",
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>",
             escaped(title), "</title>\n<style>", kStyle, series_style(),
             "</style></head>\n<body>\n", body, "<script>", kScript, "</script>\n</body></html>\n");
}

}  // namespace tessera::apps
