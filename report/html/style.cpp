// What reports look like and what they do.
#include "report/html/html.h"

namespace tessera::experiment {

// Ten colours that differ in print and for most eyes, darker on white, lighter on black.
const char* const kPageStyle = R"(
:root { color-scheme: light dark; --page: #fff; --ink: #1c2024; --soft: #5b6570; --line: #d8dde2;
  --card: #f7f8fa; --mark: #e3f1e8; --bad: #b3261e; --grey: #8b95a0; --shade: #0003;
  --c0: #1f66b0; --c1: #cf4a14; --c2: #15803d; --c3: #8b3fb0; --c4: #a16207; --c5: #0e7f8c;
  --c6: #be185d; --c7: #4d5b6b; --c8: #6b7f12; --c9: #7c4a2d; }
@media (prefers-color-scheme: dark) { :root { --page: #15181c; --ink: #e6e9ec; --soft: #9aa5b1;
  --line: #343b43; --card: #1d2126; --mark: #1d3a2b; --bad: #ff8a80; --grey: #7d8793; --shade: #fff3;
  --c0: #6cb0f5; --c1: #ff8f5c; --c2: #5fcf86; --c3: #cf95ee; --c4: #e0b04a; --c5: #4fc8d6;
  --c6: #f58abc; --c7: #a9b6c4; --c8: #bccf5a; --c9: #cf9f82; } }
* { box-sizing: border-box; }
body { --behind: var(--page); margin: 0 auto; padding: 28px 24px 80px; max-width: 1180px; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 6px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 6px; }
section + section { margin-top: 72px; }
p { margin: 4px 0 12px; max-width: 80ch; } p, li { overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); } .lead { color: var(--soft); margin-bottom: 6px; }
a { color: var(--c0); text-decoration: none; } a:hover { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; border-radius: 3px; }
/* A shadow at the edge behind which a table goes on. */
.wide { overflow-x: auto; background: linear-gradient(to left, var(--behind) 50%, transparent) 100% 0 /
  36px 100% no-repeat local, linear-gradient(to left, var(--shade), transparent) 100% 0 / 16px 100%
  no-repeat scroll; }
figure.table { margin: 10px 0 18px; } figure.table figcaption { font-size: 15px; font-weight: 400;
  max-width: 90ch; padding-bottom: 6px; } figure.table p { font-size: 13px; margin: 6px 0 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 8px; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: baseline; }
th { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th.left, td.left { text-align: left; } td.left { overflow-wrap: anywhere; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--behind); }
tfoot td { font-weight: 600; }
th button { all: unset; cursor: pointer; position: relative; } th button:hover { color: var(--ink); }
th button:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
th button::after { position: absolute; left: 100%; padding-left: 2px; font-size: 10px; }
th[aria-sort="ascending"] button::after { content: "\25B2"; }
th[aria-sort="descending"] button::after { content: "\25BC"; }
td a { color: inherit; } .best { background: var(--mark); font-weight: 600; border-radius: 4px;
  padding: 2px 6px; margin-right: -6px; }
.delta { color: var(--soft); font-size: 12.5px; font-weight: 400; display: block; line-height: 1.2; }
.bad { color: var(--bad); }
td.parts { min-width: 150px; } td.parts svg { height: 10px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr));
  gap: 14px 18px; }
figure { margin: 0; min-width: 0; break-inside: avoid; } figcaption { font-size: 13px;
  font-weight: 600; overflow-wrap: anywhere; }
figure.big { max-width: 940px; } .narrow { display: none; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11.5px system-ui, "Segoe UI", "Liberation Sans", sans-serif; fill: var(--soft); }
svg text.name { fill: var(--ink); } .tx { text-anchor: middle; } .ty { text-anchor: end; }
.axis { stroke: var(--soft); fill: none; } .gridline { stroke: var(--line); fill: none; }
.gridline.minor { stroke-opacity: 0.45; }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.bar { stroke-width: 1.4; } .area { fill-opacity: 0.55; }
.thin { stroke-width: 1; } .dashed { stroke-dasharray: 5 4; } .faint { stroke-opacity: 0.4; }
.dash1 { stroke-dasharray: 7 4; } .dash2 { stroke-dasharray: 2 4; }
.dash3 { stroke-dasharray: 9 3 2 3; }
.mark { stroke: var(--behind); stroke-width: 1; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; margin: 4px 0 10px; }
.legend > span { display: inline-flex; align-items: center; gap: 6px; }
.legend svg { width: 30px; height: 12px; flex: none; }
.key { width: 12px; height: 12px; border-radius: 3px; }
details { border: 1px solid var(--line); border-radius: 8px; margin: 8px 0;
  background: var(--card); --behind: var(--card); }
details > summary { cursor: pointer; padding: 8px 14px; overflow-wrap: anywhere; }
details > div { padding: 2px 14px 12px; }
summary b { font-weight: 600; }
summary .soft { float: right; padding-left: 10px; }
code { font: 12.5px ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
@media (max-width: 600px) { body { padding: 18px 14px 60px; } h1 { font-size: 23px; }
  .narrow { display: block; } .roomy { display: none; } details > div { padding: 2px 8px 8px; }
  details > summary { padding: 8px 10px; } table { font-size: 13.5px; } .delta { font-size: 11.5px; } th, td { padding: 5px 8px 5px 5px; }
  /* It stays in sight, so it must leave some to the others. */
  th:first-child, td:first-child { white-space: normal; overflow-wrap: break-word; max-width: 40vw; } }
@media print { :root { color-scheme: light; --page: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --card: #fff; --mark: #e3f1e8; --bad: #b3261e; --grey: #888;
  --c0: #1f66b0; --c1: #cf4a14; --c2: #15803d; --c3: #8b3fb0; --c4: #a16207; --c5: #0e7f8c;
  --c6: #be185d; --c7: #4d5b6b; --c8: #6b7f12; --c9: #7c4a2d; }
  body { max-width: none; padding: 0; font-size: 12px; }
  nav, .download, details:not([open]) { display: none; } .wide { overflow: visible; }
  h2 { break-after: avoid; } .grid { grid-template-columns: repeat(2, 1fr); } }
)";

// A link to a run opens it; the titles of a table sort it, by its numbers where it has them.
const char* const kPageScript = R"(
function show() {
  const run = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (run && run.tagName === "DETAILS") { run.open = true; run.scrollIntoView(); }
}
addEventListener("hashchange", show); show();
function value(row, column) {
  const text = row.cells[column].innerText.replace(/,/g, "").replace("\u2212", "-");
  const number = parseFloat(text);
  return Number.isNaN(number) ? text : number;
}
function sort(head) {
  const up = head.getAttribute("aria-sort") !== "ascending", column = head.cellIndex;
  const body = head.closest("table").querySelector("tbody.rows");
  const rows = [...body.rows].map(row => [value(row, column), row]);
  rows.sort(([a], [b]) => {
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    const order = typeof a === "number" ? a - b : a.localeCompare(b);
    return up ? order : -order;
  });
  body.append(...rows.map(([, row]) => row));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
}
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
)";

}  // namespace tessera::experiment
