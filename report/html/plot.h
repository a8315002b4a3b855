// One plot as inline SVG: axes, lines, markers, bars. Colours are classes of the page's style
// sheet, so that one drawing serves light, dark and print.
#pragma once

#include <string>
#include <vector>

#include "report/html/axis.h"
#include "report/html/path.h"

namespace tessera::experiment {

inline constexpr int kColors = 10;
inline constexpr int kReferenceColor = -1;  // grey

// Points of a curve by x.
struct Points {
  std::vector<double> x, y;
  bool empty() const { return x.empty(); }
};

class Plot {
 public:
  struct Frame {
    std::string x_label, y_label;
    Scale x, y;
    int width = 360, height = 230;
    std::string about = "";  // for readers that cannot see it
  };
  explicit Plot(Frame frame);
  const Frame& frame() const { return frame_; }

  // Points outside what can be drawn (not finite; not positive on a log scale) leave a gap. Long
  // curves are thinned to what the picture can show. `style`: classes "thin", "dashed", "faint".
  void line(const Points& points, int color, const std::string& style = "");
  // A shape for each series, told apart without colour; `about` appears when it is pointed at.
  void marker(double x, double y, int series, const std::string& about);
  void error_bar(double x, double y, double half, int color);
  // Across all of the plot.
  void horizontal(double y, int color, const std::string& style = "dashed");
  void vertical(double x, int color, const std::string& style = "thin");
  // Heights of equally wide bins from low to high, as one outline, filled or not. What is higher
  // than the plot ends at its top.
  void bins(double low, double high, std::vector<double> heights, int color, bool filled);
  // From the bottom to a dot at (x, y); without the dot to the top, where y is above the plot: then
  // `label` stands there, if there is room for it beside the last one.
  void stem(double x, double y, int color, const std::string& about, const std::string& label);
  // Many of them, as one path.
  void stems(const std::vector<double>& x, const std::vector<double>& y, int color);

  // With a remark in the middle when nothing could be drawn.
  std::string svg() const;

 private:
  double px(double x) const;
  double py(double y) const;
  bool drawable(double x, double y) const;

  Frame frame_;
  double left_, right_, top_, bottom_;  // of the area inside the axes, in pixels
  double labelled_ = 0;                 // where the last label at the top ends
  std::string axes_, body_;
};

// Width of a text as plots set it, about, in pixels.
double text_width(const std::string& text);

// A shape of a series around (x, y); "" for `about`: without a text.
std::string mark(double x, double y, int series, const std::string& about);
// Classes of a series as a line, and as something filled.
std::string line_class(int series);
std::string fill_class(int series);

// A small picture of the line and the shape of a series.
std::string swatch(int series, bool with_marker, const std::string& style = "");
// Series names with their swatches, in order. `more`: entries behind, HTML.
std::string legend(const std::vector<std::string>& names, bool with_markers,
                   const std::string& more = "");

// A figure with its caption (HTML, "" for none) around an SVG.
std::string figure(const std::string& caption, const std::string& svg,
                   const std::string& css_class = "");

}  // namespace tessera::experiment
