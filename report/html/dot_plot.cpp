#include "report/html/dot_plot.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/text.h"
#include "report/html/html.h"
#include "report/html/plot.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

constexpr double kWidth = 360, kRow = 20, kTop = 8, kBelow = 38;
constexpr double kNames = 118, kGap = 10;  // most that names take, and beside them

// Cut where it is too wide.
std::string fitting(const std::string& name) {
  if (text_width(name) <= kNames) return name;
  const std::string more = "\u2026";
  std::string out = name;
  while (!out.empty() && (text_width(out + more) > kNames ||
                          (static_cast<unsigned char>(out.back()) & 0x80) != 0)) {
    out.pop_back();
  }
  return out + more;
}

std::string path(const std::string& classes, const std::vector<Pixel>& points) {
  PathData data;
  data.lines(points);
  return cat("<path class=\"", classes, "\" d=\"", data.text(), "\"/>");
}

std::string text(const std::string& classes, double x, double y, const std::string& words) {
  return cat("<text", classes.empty() ? "" : cat(" class=\"", classes, "\""), " x=\"", place(x),
             "\" y=\"", place(y), "\">", escaped(words), "</text>");
}

}  // namespace

double near_limit(const std::vector<double>& values, double base, bool lower_is_better) {
  const double sign = lower_is_better ? 1 : -1;
  constexpr double kNear = 4, kFar = 6;
  std::vector<double> rises;
  for (const double v : values) {
    if (drawable(v, false)) rises.push_back(std::max(sign * (v - base), 0.0));
  }
  if (rises.empty()) return base;
  std::sort(rises.begin(), rises.end());
  const double unit = std::max(rises[(rises.size() - 1) / 4], 0.1 * std::abs(base));
  return base + sign * (rises.back() <= kFar * unit ? rises.back() : kNear * unit);
}

std::string dot_plot(std::vector<DotRow> rows, double reference, const std::string& x_label,
                     const std::string& about, bool lower_is_better) {
  std::stable_sort(rows.begin(), rows.end(), [&](const DotRow& a, const DotRow& b) {
    return lower_is_better ? a.value < b.value : a.value > b.value;
  });
  std::vector<double> values;
  double names = 0, figures = 0;
  for (const DotRow& row : rows) {
    values.push_back(row.value);
    names = std::max(names, text_width(fitting(row.name)));
    figures = std::max(figures, text_width(fixed(row.value, 2)));
  }
  const double limit = near_limit(values, reference, lower_is_better);
  const auto beyond = [&](double value) { return lower_is_better ? value > limit : value < limit; };
  // Not from zero: places count here, not lengths.
  Scale scale = {reference, reference, false};
  for (const DotRow& row : rows) {
    if (!drawable(row.value, false) || beyond(row.value)) continue;
    scale.low = std::min(scale.low, row.value - row.half);
    scale.high = std::max(scale.high, row.value + row.half);
  }
  const double margin =
      std::max(0.05 * (scale.high - scale.low), 0.02 * std::abs(reference) + 0.01);
  scale.low -= margin;
  scale.high += margin;
  const double left = names + kGap, right = kWidth - figures - 2 * kGap;
  const double bottom = kTop + kRow * static_cast<double>(rows.size()) + 4;
  const auto px = [&](double value) { return left + scale.at(value) * (right - left); };

  std::string out, labels;
  for (const Tick& tick :
       ticks(scale, right - left, [](const std::string& t) { return text_width(t) + 18; })) {
    out += path("gridline", {{px(tick.value), kTop}, {px(tick.value), bottom}});
    labels += text("tx", px(tick.value), bottom + 15, tick.text);
  }
  out += path("curve dashed sr", {{px(reference), kTop}, {px(reference), bottom}}) +
         path("axis", {{left, bottom}, {right, bottom}}) + labels +
         text("tx", (left + right) / 2, bottom + 31, x_label) + "\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const DotRow& row = rows[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    out += text("name ty", left - kGap, y + 4, fitting(row.name)) +
           text("ty", kWidth - 2, y + 4, fixed(row.value, 2));
    const std::string what = cat(row.name, ": ", fixed(row.value, 2),
                                 row.half > 0 ? cat(" \u00b1 ", fixed(row.half, 2)) : "");
    if (!drawable(row.value, false)) continue;
    if (beyond(row.value)) {
      const std::string line = cat("curve ", line_class(row.series));
      const double edge = lower_is_better ? right - 2 : left + 2, back = lower_is_better ? -1 : 1;
      out += path(line + " faint", {{edge + 20 * back, y}, {edge, y}}) +
             path(line, {{edge + 5 * back, y - 4}, {edge, y}, {edge + 5 * back, y + 4}}) + "\n";
      continue;
    }
    if (row.half > 0) {
      const double low = std::max(px(row.value - row.half), left),
                   high = std::min(px(row.value + row.half), right);
      out += path("curve bar " + line_class(row.series), {{low, y}, {high, y}});
    }
    out += mark(px(row.value), y, row.series, what);
  }
  return cat("<svg viewBox=\"0 0 ", place(kWidth), " ", place(bottom + kBelow),
             "\" role=\"img\" aria-label=\"", escaped(about), "\">\n", out, "</svg>");
}

}  // namespace tessera::experiment
