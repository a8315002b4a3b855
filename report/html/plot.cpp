#include "report/html/plot.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "core/error.h"
#include "report/html/html.h"

namespace tessera::experiment {

namespace {

constexpr double kTop = 10, kBelow = 40, kRight = 12;
constexpr double kBesideTicks = 26;               // of the turned label and the gap to the axis
constexpr double kBetweenX = 12, kBetweenY = 26;  // from label to label

std::string with_style(const std::string& classes, const std::string& style) {
  return style.empty() ? classes : classes + " " + style;
}

std::string element(const std::string& classes, const PathData& data) {
  return cat("<path class=\"", classes, "\" d=\"", data.text(), "\"/>\n");
}

// Shapes of about the same area around (x, y), up to where their attributes go on.
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

double text_width(const std::string& text) {
  // In the widest of usual fonts (DejaVu Sans), at the size of the style sheet.
  constexpr double kEm = 11.5, kCapital = 9.1, kCharacter = 7.3;
  double out = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >> 6 == 2) continue;  // goes on a UTF-8 character
    if (byte >= 0x80 || std::string_view("mwMW%@").find(c) != std::string_view::npos) {
      out += kEm;
    } else {
      out += c >= 'A' && c <= 'Z' ? kCapital : kCharacter;
    }
  }
  return out;
}

std::string line_class(int series) {
  if (series < 0) return "sr";
  const int round = series / kColors;
  return cat("s", series % kColors, round == 0 ? "" : cat(" dash", (round - 1) % 3 + 1));
}
std::string fill_class(int series) {
  return series < 0 ? "fr" : cat("f", series % kColors);
}

std::string mark(double x, double y, int series, const std::string& about) {
  const std::string open = cat(shape(series, x, y), " class=\"mark ", fill_class(series), "\"");
  if (about.empty()) return open + "/>";
  return cat(open, "><title>", escaped(about), "</title>",
             series % 6 == 0 ? "</circle>" : "</polygon>", "\n");
}

Plot::Plot(Frame frame) : frame_(std::move(frame)) {
  top_ = kTop;
  bottom_ = frame_.height - kBelow;
  const auto y_ticks =
      ticks(frame_.y, bottom_ - top_, [](const std::string&) { return kBetweenY; });
  double widest = 0;
  for (const Tick& tick : y_ticks) widest = std::max(widest, text_width(tick.text));
  left_ = kBesideTicks + widest;
  right_ = frame_.width - kRight;
  const auto x_ticks = ticks(frame_.x, right_ - left_,
                             [](const std::string& text) { return text_width(text) + kBetweenX; });
  PathData major, minor;
  std::string below, beside;
  for (const Tick& tick : x_ticks) {
    PathData& lines = tick.text.empty() ? minor : major;
    lines.lines({{px(tick.value), top_}, {px(tick.value), bottom_}});
    if (tick.text.empty()) continue;
    const double x = std::min(px(tick.value), frame_.width - 0.5 * text_width(tick.text));
    below += cat("<tspan x=\"", std::lround(x), "\">", tick.text, "</tspan>");
  }
  for (const Tick& tick : y_ticks) {
    PathData& lines = tick.text.empty() ? minor : major;
    lines.lines({{left_, py(tick.value)}, {right_, py(tick.value)}});
    if (tick.text.empty()) continue;
    beside += cat("<tspan x=\"", std::lround(left_ - 6), "\" y=\"", std::lround(py(tick.value) + 4),
                  "\">", tick.text, "</tspan>");
  }
  const std::string labels = cat(
      "<text class=\"tx\" y=\"", std::lround(bottom_ + 15), "\">", below,
      "</text><text class=\"ty\">", beside, "</text><text class=\"tx\" x=\"",
      std::lround((left_ + right_) / 2), "\" y=\"", frame_.height - 8, "\">",
      escaped(frame_.x_label), "</text><text class=\"tx\" transform=\"translate(12 ",
      std::lround((top_ + bottom_) / 2), ") rotate(-90)\">", escaped(frame_.y_label), "</text>");
  PathData axis;
  axis.lines({{left_, top_}, {left_, bottom_}, {right_, bottom_}});
  axes_ = (minor.text().empty() ? "" : element("gridline minor", minor)) +
          (major.text().empty() ? "" : element("gridline", major)) + element("axis", axis) +
          labels + "\n";
}

double Plot::px(double x) const {
  return left_ + frame_.x.at(x) * (right_ - left_);
}
double Plot::py(double y) const {
  return bottom_ - frame_.y.at(y) * (bottom_ - top_);
}
bool Plot::drawable(double x, double y) const {
  return experiment::drawable(x, frame_.x.log) && experiment::drawable(y, frame_.y.log);
}

void Plot::line(const Points& points, int color, const std::string& style) {
  PathData path;
  const std::size_t n = points.x.size();
  for (std::size_t begin = 0; begin < n; ++begin) {
    std::vector<Pixel> part;
    for (; begin < n && drawable(points.x[begin], points.y[begin]); ++begin) {
      part.push_back({px(points.x[begin]), py(points.y[begin])});
    }
    part = thinned(part);
    if (part.size() == 1) {  // a line to nowhere would not be seen
      body_ += cat("<circle class=\"", fill_class(color), "\" cx=\"", place(part[0].x), "\" cy=\"",
                   place(part[0].y), "\" r=\"3\"/>\n");
    } else {
      path.lines(part);
    }
  }
  if (path.text().empty()) return;
  body_ += element(with_style("curve " + line_class(color), style), path);
}

void Plot::marker(double x, double y, int series, const std::string& about) {
  if (drawable(x, y)) body_ += mark(px(x), py(y), series, about);
}

void Plot::error_bar(double x, double y, double half, int color) {
  if (!drawable(x, y) || !drawable(x, y + half) || half <= 0) return;
  const double low = frame_.y.log ? std::max(y - half, frame_.y.low) : y - half;
  const double cx = px(x), top = py(y + half), bottom = py(low);
  PathData bar;
  bar.lines({{cx - 4, top}, {cx + 4, top}});
  bar.lines({{cx, top}, {cx, bottom}});
  bar.lines({{cx - 4, bottom}, {cx + 4, bottom}});
  body_ += element("curve bar " + line_class(color), bar);
}

void Plot::horizontal(double y, int color, const std::string& style) {
  if (!drawable(frame_.x.low, y)) return;
  PathData line;
  line.lines({{left_, py(y)}, {right_, py(y)}});
  body_ += element(with_style("curve " + line_class(color), style), line);
}

void Plot::vertical(double x, int color, const std::string& style) {
  if (!drawable(x, frame_.y.high)) return;
  PathData line;
  line.lines({{px(x), top_}, {px(x), bottom_}});
  body_ += element(with_style("curve " + line_class(color), style), line);
}

void Plot::bins(double low, double high, std::vector<double> heights, int color, bool filled) {
  // Not narrower than a pixel: neighbours become one, as high as the highest.
  const auto most = static_cast<std::size_t>(right_ - left_);
  while (heights.size() > most) {
    std::vector<double> halved;
    for (std::size_t i = 0; i < heights.size(); i += 2) {
      halved.push_back(i + 1 < heights.size() ? std::max(heights[i], heights[i + 1]) : heights[i]);
    }
    if (heights.size() % 2) high += (high - low) / static_cast<double>(heights.size());
    heights = std::move(halved);
  }
  const double width = (high - low) / static_cast<double>(heights.size());
  // Whole pixels: a third of the bytes, and no eye sees it.
  std::vector<Pixel> outline = {{std::round(px(low)), bottom_}};
  for (std::size_t i = 0; i < heights.size(); ++i) {
    const double begin = std::round(px(low + width * static_cast<double>(i))),
                 end = std::round(px(low + width * static_cast<double>(i + 1))),
                 y = std::round(std::max(py(heights[i]), top_));
    if (y == outline.back().y && i > 0) {
      outline.back().x = end;
      continue;
    }
    outline.push_back({begin, y});
    outline.push_back({end, y});
  }
  outline.push_back({outline.back().x, bottom_});
  PathData path;
  path.lines(outline);
  body_ += element(filled ? "area " + fill_class(color) : "curve bar " + line_class(color), path);
}

void Plot::stem(double x, double y, int color, const std::string& about, const std::string& label) {
  if (!drawable(x, y)) return;
  const bool inside = y <= frame_.y.high;
  PathData line;
  line.lines({{px(x), bottom_}, {px(x), inside ? py(y) : top_}});
  const std::string title = cat("<title>", escaped(about), "</title>");
  body_ += cat("<path class=\"curve ", line_class(color), "\" d=\"", line.text(), "\">", title,
               "</path>\n");
  if (inside) {
    body_ += cat("<circle class=\"mark ", fill_class(color), "\" cx=\"", place(px(x)), "\" cy=\"",
                 place(py(y)), "\" r=\"3.5\">", title, "</circle>\n");
    return;
  }
  const double begin = px(x) + 4, end = begin + text_width(label);
  if (label.empty() || begin < labelled_ || end > frame_.width) return;
  labelled_ = end + 4;
  body_ += cat("<text x=\"", place(begin), "\" y=\"", place(top_ + 9), "\">", escaped(label),
               "</text>\n");
}

void Plot::stems(const std::vector<double>& x, const std::vector<double>& y, int color) {
  PathData lines;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!drawable(x[i], y[i])) continue;
    lines.lines({{px(x[i]), bottom_}, {px(x[i]), std::max(py(y[i]), top_)}});
  }
  if (!lines.text().empty()) body_ += element("curve thin " + line_class(color), lines);
}

std::string Plot::svg() const {
  const std::string nothing =
      cat("<text class=\"tx\" x=\"", place((left_ + right_) / 2), "\" y=\"",
          place((top_ + bottom_) / 2), "\">nothing that can be drawn</text>\n");
  return cat("<svg viewBox=\"0 0 ", frame_.width, " ", frame_.height,
             "\" role=\"img\" aria-label=\"", escaped(frame_.about), "\">\n", axes_,
             body_.empty() ? nothing : body_, "</svg>");
}

std::string swatch(int series, bool with_marker, const std::string& style) {
  return cat("<svg viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"",
             with_style("curve " + line_class(series), style), "\" d=\"M2 6H28\"/>",
             with_marker ? mark(15, 6, series, "") : "", "</svg>");
}

std::string legend(const std::vector<std::string>& names, bool with_markers,
                   const std::string& more) {
  std::string out = "<div class=\"legend\">";
  for (std::size_t i = 0; i < names.size(); ++i) {
    out += cat("<span>", swatch(static_cast<int>(i), with_markers), escaped(names[i]), "</span>");
  }
  return out + more + "</div>\n";
}

std::string figure(const std::string& caption, const std::string& svg,
                   const std::string& css_class) {
  return cat("<figure", css_class.empty() ? "" : cat(" class=\"", css_class, "\""), ">",
             caption.empty() ? "" : cat("<figcaption>", caption, "</figcaption>"), svg,
             "</figure>\n");
}

}  // namespace tessera::experiment
