// Plots over all runs of a network: the trade-off of error and size, and training.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/text.h"
#include "experiment/task.h"
#include "report/html/dot_plot.h"
#include "report/html/html.h"
#include "report/html/sections.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

// Errors over more than this ratio are told apart on a logarithmic axis only.
constexpr double kWideErrors = 2.5;

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
    // One value, such as of methods that do not train, is no curve.
    if (std::all_of(curves.begin(), curves.end(),
                    [](const MethodCurve& curve) { return curve.points.x.size() < 2; })) {
      continue;
    }
    std::vector<double> x, y;
    for (const auto& curve : curves) {
      x.insert(x.end(), curve.points.x.begin(), curve.points.x.end());
      y.insert(y.end(), curve.points.y.begin(), curve.points.y.end());
    }
    const std::string title = column_title(grid.columns()[c]);
    Plot plot({.x_label = "epochs",
               .y_label = y_label,
               .x = fit_scale(x, false, true),
               .y = fit_scale(y, spread_wide(y, kWideErrors)),
               .about = cat(y_label, " by epochs, ", title)});
    for (const auto& curve : curves) plot.line(curve.points, curve.series);
    figures += figure(escaped(title), plot.svg());
  }
  return figures.empty() ? "" : "<div class=\"grid\">" + figures + "</div>\n";
}

// All seeds of a method at a codebook, in the trade-off of size and quality.
struct TradeoffPoint {
  double bits, value, half;
  std::size_t method;
  std::string family;  // codebooks that differ in size only
  std::string about;
};

std::string family_of(const Variant& column) {
  return cat(column.codebook.substr(0, column.codebook.find(':')), " ", column.scope());
}

// By bits, then from the best on.
std::vector<TradeoffPoint> tradeoff_points(const ComparisonGrid& grid) {
  const nn::Metric metric = grid.metric();
  std::vector<TradeoffPoint> out;
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    for (std::size_t c = 0; c < grid.columns().size(); ++c) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty()) continue;
      const auto values = cell.results();
      TradeoffPoint point{mean(cell.values([](const Compression& r) { return r.effective_bits; })),
                          mean(values),
                          standard_error(values),
                          m,
                          family_of(grid.columns()[c]),
                          ""};
      point.about = cat(grid.methods()[m], ", ", column_title(grid.columns()[c]), ": ",
                        with_unit(mean_text(values, metric.digits), metric), " at ",
                        fixed(point.bits, 3), " bits");
      out.push_back(std::move(point));
    }
  }
  const double sign = metric.lower_is_better ? 1 : -1;
  std::sort(out.begin(), out.end(), [&](const TradeoffPoint& a, const TradeoffPoint& b) {
    return std::pair(a.bits, sign * a.value) < std::pair(b.bits, sign * b.value);
  });
  return out;
}

// Stairs through what no other point beats in both.
Points pareto_front(const std::vector<TradeoffPoint>& points, bool lower_is_better, double end) {
  Points out;
  double best = lower_is_better ? INFINITY : -INFINITY;
  for (const TradeoffPoint& p : points) {
    if (lower_is_better ? p.value >= best : p.value <= best) continue;
    if (!out.empty()) {
      out.x.push_back(p.bits);
      out.y.push_back(best);
    }
    out.x.push_back(p.bits);
    out.y.push_back(best = p.value);
  }
  out.x.push_back(end);
  out.y.push_back(best);
  return out;
}

std::string tradeoff_svg(const ComparisonGrid& grid, const std::vector<TradeoffPoint>& points,
                         double reference, const std::string& measured, int width, int height) {
  std::vector<double> x, y = {reference};
  for (const TradeoffPoint& p : points) {
    x.push_back(p.bits);
    y.insert(y.end(), {p.value - p.half, p.value + p.half});
  }
  Plot plot({.x_label = "effective bits per weight",
             .y_label = axis_title(measured, grid.metric()),
             .x = fit_scale(x, true),
             .y = fit_scale(y, spread_wide(y, kWideErrors)),
             .width = width,
             .height = height,
             .about = measured + " against effective bits per weight"});
  plot.horizontal(reference, kReferenceColor);
  plot.line(pareto_front(points, grid.metric().lower_is_better, plot.frame().x.high),
            kReferenceColor, "thin");
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    const int series = static_cast<int>(m);
    std::map<std::string, Points> lines;
    for (const TradeoffPoint& p : points) {
      if (p.method != m) continue;
      lines[p.family].x.push_back(p.bits);
      lines[p.family].y.push_back(p.value);
      plot.error_bar(p.bits, p.value, p.half, series);
    }
    for (const auto& [family, line] : lines) {
      if (line.x.size() > 1) plot.line(line, series, "faint");
    }
  }
  for (const TradeoffPoint& p : points) {
    plot.marker(p.bits, p.value, static_cast<int>(p.method), p.about);
  }
  return plot.svg();
}

}  // namespace

std::string measured_on(const NetworkReport& network) {
  if (!network.references.empty()) return measured_on(network.references.front().config);
  return ComparisonGrid(network.runs).measured_on();
}

nn::Metric metric_of(const NetworkReport& network) {
  if (!network.references.empty()) return network.references.front().metric;
  return ComparisonGrid(network.runs).metric();
}

std::string axis_title(const std::string& title, const nn::Metric& metric) {
  return metric.unit.empty() ? title : cat(title, ", ", metric.unit);
}

int series_of(const NetworkReport& network, const std::string& method) {
  const ComparisonGrid grid(network.runs);
  const auto& methods = grid.methods();
  return static_cast<int>(std::find(methods.begin(), methods.end(), method) - methods.begin());
}

std::string tradeoff_plot(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  const auto points = tradeoff_points(grid);
  if (points.empty()) return "";
  const auto references = grid.references();
  const double reference = mean(references);
  const nn::Metric metric = grid.metric();
  const std::string measured = cat(measured_on(network), " ", metric.title());
  // Text keeps its size when a page is narrow; the plot does not.
  const std::string roomy = tradeoff_svg(grid, points, reference, measured, 900, 430),
                    narrow = tradeoff_svg(grid, points, reference, measured, 390, 400);
  const std::string line =
      cat("<span>", swatch(kReferenceColor, false, "dashed"), "reference ", metric.text(reference),
          ", 32 bits</span><span>", swatch(kReferenceColor, false, "thin"),
          "not beaten in size and ", metric.title(), "</span>");
  return figure("", roomy, "big roomy") + figure("", narrow, "narrow") +
         legend(grid.methods(), true, line);
}

std::string near_plots(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  const double reference = mean(grid.references());
  const nn::Metric metric = grid.metric();
  const std::string measured = cat(measured_on(network), " ", metric.title());
  std::string out;
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    std::vector<DotRow> rows;
    for (std::size_t m = 0; m < grid.methods().size(); ++m) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty()) continue;
      rows.push_back({grid.methods()[m], static_cast<int>(m), mean(cell.results()),
                      standard_error(cell.results())});
    }
    if (rows.empty()) continue;
    const std::string title = column_title(grid.columns()[c]);
    out += figure(escaped(title),
                  dot_plot(std::move(rows), reference, axis_title(measured, metric),
                           cat(measured, " near the reference, ", title), metric.lower_is_better));
  }
  return out.empty() ? "" : "<div class=\"grid\">" + out + "</div>\n";
}

std::string training_curves(const NetworkReport& network) {
  const nn::Metric metric = metric_of(network);
  const std::string measured = cat(measured_on(network), " ", metric.title());
  const std::string main =
      curve_figures(network, axis_title(measured, metric), [&](const RunCurves& curves) {
        return curves.find("c_step", metric_key(metric, measured_on(network)));
      });
  const std::string loss =
      curve_figures(network, "training loss", [](const RunCurves& curves) { return &curves.loss; });
  if (main.empty() && loss.empty()) return "";
  std::string out = legend(ComparisonGrid(network.runs).methods(), false);
  if (!main.empty())
    out += cat("<h3>", capitalized(measured), " of the compressed network</h3>") + main;
  if (!loss.empty()) out += "<h3>Training loss</h3>" + loss;
  return out;
}

}  // namespace tessera::experiment
