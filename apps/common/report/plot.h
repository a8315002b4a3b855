// One plot as inline SVG: axes, lines, markers, bars. Colours are classes of the page's style
// sheet, so that one drawing serves light, dark and print.
#pragma once

#include <string>
#include <vector>

#include "apps/common/report/axis.h"

namespace tessera::apps {

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
    int width = 400, height = 250;
    std::string about = "";  // for readers that cannot see it
  };
  explicit Plot(Frame frame);
  const Frame& frame() const { return frame_; }

  // Points outside what can be drawn (not finite; not positive on a log scale) leave a gap. Long
  // curves are thinned to the extremes of what falls on one place. `style`: classes "thin",
  // "dashed", "faint".
  void line(const Points& points, int color, const std::string& style = "");
  // A shape for each series, told apart without colour; `about` appears when it is pointed at.
  void marker(double x, double y, int series, const std::string& about);
  void error_bar(double x, double y, double half, int color);
  void horizontal(double y, int color, const std::string& label);
  void vertical(double x, int color, const std::string& style = "");
  // Heights of equally wide bins from low to high, as one filled outline.
  void bins(double low, double high, const std::vector<double>& heights, int color);
  // From the bottom to a dot at (x, y).
  void stem(double x, double y, int color, const std::string& about);
  void text(double x, double y, const std::string& words);

  std::string svg() const;

 private:
  double px(double x) const;
  double py(double y) const;
  bool drawable(double x, double y) const;

  Frame frame_;
  std::string body_;
};

// A small picture of the line and the shape of a series.
std::string swatch(int series, bool with_marker, const std::string& style = "");
// Series names with their swatches, in order.
std::string legend(const std::vector<std::string>& names, bool with_markers);

// A figure with its caption (HTML) around an SVG.
std::string figure(const std::string& caption, const std::string& svg,
                   const std::string& css_class = "");

}  // namespace tessera::apps
