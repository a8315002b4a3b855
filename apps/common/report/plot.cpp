#include "apps/common/report/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/common/report/html.h"
#include "core/error.h"

namespace tessera::apps {

namespace {

constexpr double kLeft = 58, kRight = 14, kTop = 12, kBottom = 42;

std::string place(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.1f", value);
  return buffer;
}

int color_of(int series) {
  return series < 0 ? series : series % kColors;
}
std::string class_of(char kind, int series) {
  return series < 0 ? std::string(1, kind) + "r" : cat(kind, color_of(series));
}

// Shapes of about the same area around (x, y).
std::string shape(int series, double x, double y) {
  const auto polygon = [&](std::initializer_list<std::pair<double, double>> corners) {
    std::string out = "<polygon points=\"";
    for (const auto& [dx, dy] : corners) out += place(x + dx) + "," + place(y + dy) + " ";
    out.back() = '"';
    return out;
  };
  switch (series % 6) {
    case 0:
      return cat("<circle cx=\"", place(x), "\" cy=\"", place(y), "\" r=\"4.6\"");
    case 1:
      return polygon({{-4.2, -4.2}, {4.2, -4.2}, {4.2, 4.2}, {-4.2, 4.2}});
    case 2:
      return polygon({{0, -5.8}, {5.4, 4.2}, {-5.4, 4.2}});
    case 3:
      return polygon({{0, -6}, {6, 0}, {0, 6}, {-6, 0}});
    case 4:
      return polygon({{0, 5.8}, {5.4, -4.2}, {-5.4, -4.2}});
    default:
      return polygon({{-1.9, -5.4},
                      {1.9, -5.4},
                      {1.9, -1.9},
                      {5.4, -1.9},
                      {5.4, 1.9},
                      {1.9, 1.9},
                      {1.9, 5.4},
                      {-1.9, 5.4},
                      {-1.9, 1.9},
                      {-5.4, 1.9},
                      {-5.4, -1.9},
                      {-1.9, -1.9}});
  }
}

}  // namespace

Plot::Plot(Frame frame) : frame_(std::move(frame)) {
  const double left = kLeft, right = frame_.width - kRight, top = kTop,
               bottom = frame_.height - kBottom;
  std::string grid, labels;
  for (const Tick& tick : ticks(frame_.x, frame_.width / 70)) {
    const std::string x = place(px(tick.value));
    grid += cat("<path class=\"gridline", tick.text.empty() ? " minor" : "", "\" d=\"M", x, " ",
                place(top), "V", place(bottom), "\"/>");
    if (tick.text.empty()) continue;
    labels += cat("<text x=\"", x, "\" y=\"", place(bottom + 15), "\" text-anchor=\"middle\">",
                  tick.text, "</text>");
  }
  for (const Tick& tick : ticks(frame_.y, frame_.height / 42)) {
    const std::string y = place(py(tick.value));
    grid += cat("<path class=\"gridline", tick.text.empty() ? " minor" : "", "\" d=\"M",
                place(left), " ", y, "H", place(right), "\"/>");
    if (tick.text.empty()) continue;
    labels += cat("<text x=\"", place(left - 6), "\" y=\"", place(py(tick.value) + 4),
                  "\" text-anchor=\"end\">", tick.text, "</text>");
  }
  labels += cat("<text x=\"", place((left + right) / 2), "\" y=\"", frame_.height - 8,
                "\" text-anchor=\"middle\">", escaped(frame_.x_label), "</text>",
                "<text transform=\"translate(12 ", place((top + bottom) / 2),
                ") rotate(-90)\" text-anchor=\"middle\">", escaped(frame_.y_label), "</text>");
  body_ = grid +
          cat("<path class=\"axis\" d=\"M", place(left), " ", place(top), "V", place(bottom), "H",
              place(right), "\"/>") +
          labels + "\n";
}

double Plot::px(double x) const {
  return kLeft + frame_.x.at(x) * (frame_.width - kLeft - kRight);
}
double Plot::py(double y) const {
  return frame_.height - kBottom - frame_.y.at(y) * (frame_.height - kTop - kBottom);
}
bool Plot::drawable(double x, double y) const {
  return std::isfinite(x) && std::isfinite(y) && (x > 0 || !frame_.x.log) &&
         (y > 0 || !frame_.y.log);
}

void Plot::line(const Points& points, int color, const std::string& style) {
  std::string path;
  bool on = false;
  std::size_t drawn = 0, last = 0;
  // Of many points in one pixel only the smallest and the largest are drawn, in their order.
  const std::size_t n = points.x.size();
  for (std::size_t begin = 0; begin < n;) {
    if (!drawable(points.x[begin], points.y[begin])) {
      on = false;
      ++begin;
      continue;
    }
    std::size_t end = begin + 1, least = begin, most = begin;
    while (end < n && drawable(points.x[end], points.y[end]) &&
           px(points.x[end]) - px(points.x[begin]) < 1.5) {
      if (points.y[end] < points.y[least]) least = end;
      if (points.y[end] > points.y[most]) most = end;
      ++end;
    }
    for (const std::size_t i : {std::min(least, most), std::max(least, most)}) {
      if (on && i == last) continue;
      path += cat(on ? "L" : "M", place(px(points.x[i])), " ", place(py(points.y[i])));
      on = true;
      last = i;
      ++drawn;
      if (least == most) break;
    }
    begin = end;
  }
  if (drawn == 0) return;
  if (drawn == 1) {
    body_ += cat("<circle class=\"", class_of('f', color), "\" cx=\"", place(px(points.x[last])),
                 "\" cy=\"", place(py(points.y[last])), "\" r=\"3\"/>\n");
    return;
  }
  body_ += cat("<path class=\"curve ", class_of('s', color), style.empty() ? "" : " " + style,
               "\" d=\"", path, "\"/>\n");
}

void Plot::marker(double x, double y, int series, const std::string& about) {
  if (!drawable(x, y)) return;
  body_ += cat(shape(series, px(x), py(y)), " class=\"mark ", class_of('f', series), "\"><title>",
               escaped(about), "</title>", series % 6 == 0 ? "</circle>" : "</polygon>", "\n");
}

void Plot::error_bar(double x, double y, double half, int color) {
  if (!drawable(x, y) || half <= 0) return;
  const double low = frame_.y.log ? std::max(y - half, frame_.y.low) : y - half;
  const double cx = px(x), top = py(y + half), bottom = py(low);
  body_ += cat("<path class=\"curve ", class_of('s', color), "\" d=\"M", place(cx - 4), " ",
               place(top), "H", place(cx + 4), "M", place(cx), " ", place(top), "V", place(bottom),
               "M", place(cx - 4), " ", place(bottom), "H", place(cx + 4), "\"/>\n");
}

void Plot::horizontal(double y, int color, const std::string& label) {
  if (!drawable(frame_.x.low, y)) return;
  body_ += cat("<path class=\"curve dashed ", class_of('s', color), "\" d=\"M", place(kLeft), " ",
               place(py(y)), "H", place(frame_.width - kRight), "\"/><text x=\"", place(kLeft + 6),
               "\" y=\"", place(py(y) - 5), "\">", escaped(label), "</text>\n");
}

void Plot::vertical(double x, int color, const std::string& style) {
  if (!drawable(x, frame_.y.high)) return;
  body_ += cat("<path class=\"curve thin ", class_of('s', color), style.empty() ? "" : " " + style,
               "\" d=\"M", place(px(x)), " ", place(kTop), "V", place(frame_.height - kBottom),
               "\"/>\n");
}

void Plot::bins(double low, double high, const std::vector<double>& heights, int color) {
  const double width = (high - low) / static_cast<double>(heights.size());
  std::string path = cat("M", place(px(low)), " ", place(py(frame_.y.low)));
  for (std::size_t i = 0; i < heights.size(); ++i) {
    path +=
        cat("V", place(py(heights[i])), "H", place(px(low + width * static_cast<double>(i + 1))));
  }
  body_ += cat("<path class=\"", class_of('f', color), "\" fill-opacity=\"0.55\" d=\"", path, "V",
               place(py(frame_.y.low)), "Z\"/>\n");
}

void Plot::stem(double x, double y, int color, const std::string& about) {
  if (!drawable(x, y)) return;
  body_ += cat("<path class=\"curve ", class_of('s', color), "\" d=\"M", place(px(x)), " ",
               place(frame_.height - kBottom), "V", place(py(y)), "\"/><circle class=\"mark ",
               class_of('f', color), "\" cx=\"", place(px(x)), "\" cy=\"", place(py(y)),
               "\" r=\"4\"><title>", escaped(about), "</title></circle>\n");
}

void Plot::text(double x, double y, const std::string& words) {
  body_ += cat("<text class=\"name\" x=\"", place(px(x) + 8), "\" y=\"", place(py(y) - 7), "\">",
               escaped(words), "</text>\n");
}

std::string Plot::svg() const {
  return cat("<svg viewBox=\"0 0 ", frame_.width, " ", frame_.height,
             "\" role=\"img\" aria-label=\"", escaped(frame_.about), "\">\n", body_, "</svg>");
}

std::string swatch(int series, bool with_marker, const std::string& style) {
  std::string out =
      cat("<svg viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"curve ",
          class_of('s', series), style.empty() ? "" : " " + style, "\" d=\"M2 6H28\"/>");
  if (with_marker) {
    out += cat(shape(series, 15, 6), " class=\"mark ", class_of('f', series), "\"/>");
  }
  return out + "</svg>";
}

std::string legend(const std::vector<std::string>& names, bool with_markers) {
  std::string out = "<div class=\"legend\">";
  for (std::size_t i = 0; i < names.size(); ++i) {
    out += cat("<span>", swatch(static_cast<int>(i), with_markers), escaped(names[i]), "</span>");
  }
  return out + "</div>\n";
}

std::string figure(const std::string& caption, const std::string& svg,
                   const std::string& css_class) {
  return cat("<figure", css_class.empty() ? "" : cat(" class=\"", css_class, "\""), "><figcaption>",
             caption, "</figcaption>", svg, "</figure>\n");
}

}  // namespace tessera::apps
