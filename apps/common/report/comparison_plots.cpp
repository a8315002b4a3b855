// Plots over all runs of a network: the trade-off of error and size, and training.
#include <algorithm>
#include <cmath>

#include "apps/common/report/html.h"
#include "apps/common/report/sections.h"
#include "apps/common/statistics.h"
#include "apps/common/table.h"
#include "apps/common/task.h"

namespace tessera::apps {

namespace {

// Means over the curves of several seeds at the epochs that all of them have.
Points mean_points(const std::vector<const Points*>& curves) {
  std::map<double, std::vector<double>> at;
  for (const Points* curve : curves) {
    for (std::size_t i = 0; i < curve->x.size(); ++i) at[curve->x[i]].push_back(curve->y[i]);
  }
  Points out;
  for (const auto& [x, values] : at) {
    if (values.size() != curves.size()) continue;
    out.x.push_back(x);
    out.y.push_back(mean(values));
  }
  return out;
}

struct MethodCurve {
  int series;
  Points points;
};

// One curve a method at one codebook; methods without any are left out.
template <class Fn>
std::vector<MethodCurve> method_curves(const NetworkReport& network, const ComparisonGrid& grid,
                                       std::size_t column, Fn&& curve_of) {
  std::vector<MethodCurve> out;
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    std::vector<const Points*> curves;
    for (const ComparedRun* run : grid.cell(m, column).done) {
      const auto& details = network.details[static_cast<std::size_t>(run - network.runs.data())];
      const Points* points = curve_of(details.curves);
      if (points && !points->empty()) curves.push_back(points);
    }
    Points points = mean_points(curves);
    if (!points.empty()) out.push_back({static_cast<int>(m), std::move(points)});
  }
  return out;
}

template <class Fn>
std::string curve_figures(const NetworkReport& network, const std::string& y_label, Fn&& curve_of) {
  const ComparisonGrid grid(network.runs);
  std::string figures;
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    const auto curves = method_curves(network, grid, c, curve_of);
    if (curves.empty()) continue;
    std::vector<double> x, y;
    for (const auto& curve : curves) {
      x.insert(x.end(), curve.points.x.begin(), curve.points.x.end());
      y.insert(y.end(), curve.points.y.begin(), curve.points.y.end());
    }
    const std::string title = column_title(grid.columns()[c]);
    Plot plot({.x_label = "epochs",
               .y_label = y_label,
               .x = fit_scale(x, false, true),
               .y = fit_scale(y, spread_wide(y)),
               .about = cat(y_label, " by epochs, ", title)});
    for (const auto& curve : curves) plot.line(curve.points, curve.series);
    figures += figure(escaped(title), plot.svg());
  }
  return figures.empty() ? "" : "<div class=\"grid\">" + figures + "</div>\n";
}

}  // namespace

std::string measured_on(const NetworkReport& network) {
  if (!network.references.empty()) return measured_on(network.references.front().config);
  return ComparisonGrid(network.runs).measured_on();
}

int series_of(const NetworkReport& network, const std::string& method) {
  const ComparisonGrid grid(network.runs);
  const auto& methods = grid.methods();
  return static_cast<int>(std::find(methods.begin(), methods.end(), method) - methods.begin());
}

std::string tradeoff_plot(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  struct Point {
    double bits, error, half;
    std::size_t method;
    std::string about;
  };
  std::vector<Point> points;
  std::vector<double> x, y;
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    for (std::size_t c = 0; c < grid.columns().size(); ++c) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty()) continue;
      const auto errors = cell.errors();
      Point point{mean(cell.values([](const Compression& r) { return r.effective_bits; })),
                  mean(errors), standard_error(errors), m, ""};
      point.about = cat(grid.methods()[m], ", ", column_title(grid.columns()[c]), ": ",
                        mean_text(errors, 2), " % at ", fixed(point.bits, 3), " bits");
      x.push_back(point.bits);
      y.insert(y.end(), {point.error - point.half, point.error + point.half});
      points.push_back(std::move(point));
    }
  }
  if (points.empty()) return "";
  const auto references = grid.references();
  const double reference = mean(references);
  if (!references.empty()) y.push_back(reference);
  const bool log_x =
      *std::max_element(x.begin(), x.end()) > 3 * *std::min_element(x.begin(), x.end());
  Plot plot({.x_label = "effective bits per weight (file bytes \u00d7 8 / numbers of the network)",
             .y_label = measured_on(network) + " error, %",
             .x = fit_scale(x, log_x),
             .y = fit_scale(y, spread_wide(y)),
             .width = 900,
             .height = 430,
             .about = measured_on(network) + " error against effective bits per weight"});
  plot.horizontal(reference, kReferenceColor,
                  cat("reference ", fixed(reference, 2), " %, 32 bits"));
  // What no other point beats in both.
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return std::pair(a.bits, a.error) < std::pair(b.bits, b.error);
  });
  Points front;
  double least = INFINITY;
  for (const Point& p : points) {
    if (p.error >= least) continue;
    if (!front.empty()) {
      front.x.push_back(p.bits);
      front.y.push_back(least);
    }
    front.x.push_back(p.bits);
    front.y.push_back(least = p.error);
  }
  front.x.push_back(plot.frame().x.high);
  front.y.push_back(least);
  plot.line(front, kReferenceColor, "thin");
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    const int series = static_cast<int>(m);
    Points line;
    for (const Point& p : points) {
      if (p.method != m) continue;
      line.x.push_back(p.bits);
      line.y.push_back(p.error);
      plot.error_bar(p.bits, p.error, p.half, series);
    }
    if (line.x.size() > 1) plot.line(line, series, "faint");
  }
  for (const Point& p : points) plot.marker(p.bits, p.error, static_cast<int>(p.method), p.about);
  return figure("", plot.svg(), "big") + legend(grid.methods(), true);
}

std::string training_curves(const NetworkReport& network) {
  const std::string measured = measured_on(network);
  const std::string error = curve_figures(
      network, measured + " error, %",
      [&](const RunCurves& curves) { return curves.find("c_step", measured + "_error"); });
  const std::string loss =
      curve_figures(network, "training loss", [](const RunCurves& curves) { return &curves.loss; });
  if (error.empty() && loss.empty()) return "";
  std::string out = legend(ComparisonGrid(network.runs).methods(), false);
  if (!error.empty())
    out += cat("<h3>", capitalized(measured), " error of the compressed network</h3>") + error;
  if (!loss.empty()) out += "<h3>Training loss</h3>" + loss;
  return out;
}

}  // namespace tessera::apps
