// Put behind a report: uses the page as a reader would and tells the frame's owner what it found.
// `errors`: of the page's own script, from a script before it.
"use strict";
const faults = [], found = { tables: 0, texts: 0, tooltips: 0, orders: {} };
const name = element => element.className.baseVal ?? element.className;

function overflow() {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return;
  let widest = root;
  for (const element of document.body.querySelectorAll(":not(.wide *)")) {
    const right = element.getBoundingClientRect().right;
    if (right > widest.getBoundingClientRect().right) widest = element;
  }
  faults.push(`the page is ${root.scrollWidth} wide, by <${widest.tagName} ${name(widest)}>`);
}

// The column that stays in sight leaves half of the frame to the others.
function columns() {
  for (const frame of document.querySelectorAll(".wide")) {
    const cell = frame.querySelector("th");
    if (frame.scrollWidth > frame.clientWidth && cell.offsetWidth > frame.clientWidth / 2) {
      const share = `${cell.offsetWidth} of ${frame.clientWidth}`;
      faults.push(`column '${cell.innerText}' hides others: ${share}`);
    }
  }
}

// Every text of a drawing is inside of it.
function texts() {
  for (const text of document.querySelectorAll("svg text")) {
    const box = text.getBoundingClientRect();
    if (box.width === 0) continue;
    const frame = text.closest("svg").getBoundingClientRect();
    ++found.texts;
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1) {
      faults.push(`'${text.textContent}' is cut`);
    }
  }
}

// A pointer at the middle of a mark is over one that has a title.
function tooltips() {
  for (const mark of document.querySelectorAll("svg .mark:has(> title)")) {
    if (mark.getBoundingClientRect().width === 0) continue;
    mark.scrollIntoView({ block: "center", behavior: "instant" });
    const box = mark.getBoundingClientRect();
    const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    ++found.tooltips;
    const title = hit && hit.querySelector(":scope > title");
    if (!title || !title.textContent) faults.push(`no tooltip: ${mark.textContent}`);
  }
}

const rows = table => [...table.querySelectorAll(".rows tr")];
const column = (table, at) => rows(table).map(row => row.cells[at].innerText);
const contents = table => rows(table).map(row => row.innerText).sort().join("\n");

// Words behind numbers, upwards or downwards, and no row lost.
function ordered(texts, up) {
  const values = texts.map(text => text.replaceAll(",", "").replace("\u2212", "-"));
  const isNumber = value => /^[+-]?[.\d]/.test(value);
  const numbers = values.filter(isNumber).map(parseFloat);
  if (!values.slice(0, numbers.length).every(isNumber)) return false;
  return numbers.every((n, i) => i === 0 || (up ? n >= numbers[i - 1] : n <= numbers[i - 1]));
}

function tables() {
  for (const table of document.querySelectorAll("table:has(th button)")) {
    ++found.tables;
    const before = contents(table);
    for (const head of table.tHead.rows[0].cells) {
      for (const up of [true, false]) {
        head.querySelector("button").click();
        const texts = column(table, head.cellIndex);
        const title = head.innerText;
        if (!ordered(texts, up)) faults.push(`${title} is not sorted: ${texts.join(" ")}`);
        if (head.getAttribute("aria-sort") !== (up ? "ascending" : "descending")) {
          faults.push(`${title} does not say how it is sorted`);
        }
        if (found.tables === 1) found.orders[title + (up ? " up" : " down")] = column(table, 0);
      }
    }
    if (contents(table) !== before) faults.push("sorting changed rows");
  }
}

// Links lead to runs.
function links() {
  for (const link of document.querySelectorAll("a[href^='#']")) {
    if (!document.getElementById(decodeURIComponent(link.hash.slice(1)))) {
      faults.push(`${link.hash} leads nowhere`);
    }
  }
}

function luminance(color) {
  const parts = color.match(/[\d.]+/g).slice(0, 3).map(c => c / 255);
  const [r, g, b] = parts.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Words can be read on what is behind them: 4.5 to 1, as WCAG 2 asks for.
function contrast() {
  found.behind = luminance(getComputedStyle(document.body).backgroundColor);
  const words = "p, td, th, a, summary, figcaption, li, .bad, svg text";
  for (const element of document.querySelectorAll(words)) {
    let behind = element, color;
    do {
      color = getComputedStyle(behind).backgroundColor;
      behind = behind.parentElement;
    } while (behind && /, 0\)$/.test(color));
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [dark, light] = [luminance(ink), luminance(color)].sort((a, b) => a - b);
    if ((light + 0.05) / (dark + 0.05) < 4.5) {
      const text = element.textContent.slice(0, 40);
      faults.push(`<${element.tagName} ${name(element)}> cannot be read: '${text}'`);
    }
  }
}

addEventListener("load", () => {
  overflow();
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const look of [overflow, columns, texts, links, contrast, tooltips, tables]) look();
  found.faults = [...new Set(faults)];
  found.errors = errors;
  found.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  parent.postMessage({ page: location.href.split("/").pop(), width: innerWidth, ...found }, "*");
});
