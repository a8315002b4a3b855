// One run in detail: whatever its log holds, and its weights.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/text.h"
#include "report/html/html.h"
#include "report/html/sections.h"
#include "report/table.h"

namespace tessera::experiment {

namespace {

constexpr std::size_t kMostCurves = 6;  // in one plot

struct Named {
  std::string name;
  const Points* points;
};

// What is known of a quantity; any other goes by its own name.
struct About {
  std::string title, axis;
  bool log = false;  // whatever the values; those that are not positive leave gaps
};
About about(const std::string& event, const std::string& quantity) {
  static const std::map<std::string, About> kKnown = {
      {"distance", {"Quantization error, relative", "‖w − Δ‖ / ‖w‖"}},
      {"changed", {"Codes that changed", "share of codes"}},
      {"mu", {"Weight of the penalty", "µ", true}},
      {"coefficient", {"Coefficient of the objective", "coefficient", true}},
      {"task_norm", {"Norm of the task's gradient", "norm", true}},
      {"objective_norm", {"Norm of the objective's gradient", "norm", true}},
  };
  const auto found = kKnown.find(quantity);
  if (found != kKnown.end()) return found->second;
  for (const std::string on : {"test", "validation"}) {
    if (!quantity.starts_with(on + "_")) continue;
    const std::string measured = cat(on, " ", quantity.substr(on.size() + 1));
    return {capitalized(measured) + " of the compressed network", measured};
  }
  return {cat(event, ": ", quantity), quantity, event == "coefficients"};
}

// Since when a curve has values that no plot can show, if it has.
std::string not_finite(const std::vector<Named>& curves) {
  double since = INFINITY;
  for (const Named& curve : curves) {
    for (std::size_t i = 0; i < curve.points->y.size(); ++i) {
      if (!std::isfinite(curve.points->y[i])) since = std::min(since, curve.points->x[i]);
    }
  }
  return std::isinf(since)
             ? ""
             : cat(" <span class=\"bad\">not finite at epoch ", short_number(since), "</span>");
}

std::string curves_plot(const std::string& title, const std::string& axis,
                        const std::vector<Named>& curves, bool log = false) {
  std::vector<double> x, y;
  for (const Named& curve : curves) {
    x.insert(x.end(), curve.points->x.begin(), curve.points->x.end());
    y.insert(y.end(), curve.points->y.begin(), curve.points->y.end());
  }
  const bool any_positive = std::any_of(y.begin(), y.end(), [](double v) { return v > 0; });
  Plot plot({.x_label = "epochs",
             .y_label = axis,
             .x = fit_scale(x, false, true),
             .y = fit_scale(y, (log && any_positive) || spread_wide(y)),
             .about = title + " by epochs"});
  std::vector<std::string> names;
  for (std::size_t i = 0; i < curves.size(); ++i) {
    plot.line(*curves[i].points, static_cast<int>(i));
    names.push_back(curves[i].name);
  }
  const bool named = curves.size() > 1 || !curves.front().name.empty();
  return "<figure><figcaption>" + escaped(title) + not_finite(curves) + "</figcaption>" +
         plot.svg() + (named ? legend(names, false) : "") + "</figure>\n";
}

// Few enough in each plot to tell them apart. One value, such as of a method that does not train,
// is no curve, and neither is what was zero all along.
std::string quantity_plots(const About& what, const std::vector<Named>& curves) {
  std::string out;
  if (std::all_of(curves.begin(), curves.end(), [](const Named& curve) {
        const auto& y = curve.points->y;
        return y.size() < 2 || std::all_of(y.begin(), y.end(), [](double v) { return v == 0; });
      })) {
    return out;
  }
  for (std::size_t begin = 0; begin < curves.size(); begin += kMostCurves) {
    const std::size_t end = std::min(begin + kMostCurves, curves.size());
    const std::string part =
        curves.size() > kMostCurves ? cat(" (", begin + 1, " to ", end, ")") : "";
    out += curves_plot(what.title + part, what.axis,
                       {curves.begin() + static_cast<std::ptrdiff_t>(begin),
                        curves.begin() + static_cast<std::ptrdiff_t>(end)},
                       what.log);
  }
  return out;
}

std::vector<double> shares(const std::vector<double>& counts) {
  const double all = std::accumulate(counts.begin(), counts.end(), 0.0);
  std::vector<double> out;
  for (const double c : counts) out.push_back(all > 0 ? 100 * c / all : 0);
  return out;
}

double most(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

// Before and after in one picture, on an axis for the reference: after a good fit nearly all
// weights lie in a few bins, and would leave nothing else to see.
std::string histogram(const TensorHistogram& h) {
  constexpr double kRoom = 1.6;
  constexpr std::size_t kFewEntries = 16;  // that each have a dot and a text
  const auto before = shares(h.reference), after = shares(h.after), decoded = shares(h.decoded),
             entries = shares(h.counts);
  const double all = std::max({most(before), most(after), most(decoded), most(entries)});
  const std::string groups = h.groups > 1 ? cat(" in ", h.groups, " groups") : "";
  const std::string title =
      cat(h.name, " ", h.shape, ", ", h.k, h.k == 1 ? " entry" : " entries", groups);
  Plot plot({.x_label = "weight",
             .y_label = "weights, %",
             .x = {h.low, h.high, false},
             .y = fit_scale({0, std::min(all, kRoom * most(before))}, false, true),
             .height = 210,
             .about = title});
  plot.bins(h.low, h.high, before, kReferenceColor, true);
  if (h.entries.empty()) plot.bins(h.low, h.high, decoded, 1, true);
  plot.bins(h.low, h.high, after, 0, false);
  if (h.entries.size() > kFewEntries) {
    plot.stems(h.entries, entries, 1);
    return figure(escaped(title), plot.svg());
  }
  std::vector<std::size_t> order(h.entries.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return h.entries[a] < h.entries[b]; });
  for (const std::size_t i : order) {
    const std::string share = short_number(entries[i], 3) + " %";
    plot.stem(h.entries[i], entries[i], 1,
              cat("entry ", short_number(h.entries[i], 5), ": ", share, " of the weights"), share);
  }
  return figure(escaped(title), plot.svg());
}

// Keys whose values are not the same in all runs.
std::string own_settings(const NetworkReport& network, const ComparedRun& run) {
  std::string out;
  for (const auto& [key, value] : run.config) {
    const bool same = std::all_of(network.runs.begin(), network.runs.end(), [&](const auto& other) {
      const auto found = other.config.find(key);
      return other.config.empty() || (found != other.config.end() && found->second == value);
    });
    // Of a SHA-256 the beginning tells one from the other.
    const std::string text = key.ends_with("sha256") ? value.substr(0, 12) + "..." : value;
    if (!same) out += cat(out.empty() ? "" : " &#183; ", escaped(key), " ", escaped(text));
  }
  return out.empty() ? "" : "<p><code>" + out + "</code></p>";
}

std::string training_plots(const RunCurves& curves, const std::string& measured_on,
                           const nn::Metric& metric) {
  std::string out;
  if (!curves.loss.empty()) {
    out += curves_plot("Training loss", "loss", {{"", &curves.loss}});
  }
  const auto measured = curves.measured.find(cat(measured_on, "_", metric.name));
  if (measured != curves.measured.end()) {
    const std::string title = cat(measured_on, " ", metric.title());
    out += curves_plot(capitalized(title) + " in training", axis_title(title, metric),
                       {{"", &measured->second}});
  }
  return out;
}

std::string rate_plot(const RunCurves& curves) {
  return curves.rate.empty() ? ""
                             : curves_plot("Learning rate", "learning rate", {{"", &curves.rate}});
}

std::string in_grid(const std::string& figures) {
  return figures.empty() ? "" : "<div class=\"grid\">" + figures + "</div>\n";
}

std::string details(const std::string& name, bool open, const std::string& summary,
                    const std::string& body) {
  return cat("<details id=\"", run_id(name), "\"", open ? " open=\"open\"" : "", "><summary>",
             summary, "</summary><div>", body, "</div></details>\n");
}

std::string result_line(const Compression& r) {
  const nn::Metric& metric = r.after.metric();
  return cat("<p>", metric.text(), metric.detail.empty() ? "" : cat(" (", metric.detail, ")"),
             ", reference ", metric.text(r.before), ", direct compression ", metric.text(r.direct),
             "; ", r.weights_bytes, " + ", r.json_bytes, " bytes, ", fixed(r.effective_bits, 3),
             " effective bits; relative quantization error ", short_number(r.distance, 3),
             "; kernels <code>", escaped(r.kernel), "</code>; file <code>", escaped(r.file),
             "</code></p>");
}

}  // namespace

std::string run_id(const std::string& name) {
  return "run-" + id_text(name);
}

std::string event_plots(const RunCurves& curves) {
  std::string out;
  for (const auto& [event, quantities] : curves.events) {
    const bool by_tensor =
        std::any_of(quantities.begin(), quantities.end(), [](const auto& quantity) {
          return quantity.second.size() > 1 || !quantity.second.contains("");
        });
    if (!by_tensor && quantities.size() > 1) {  // one value of each: they compare with each other
      std::vector<Named> all;
      for (const auto& [quantity, of] : quantities) all.push_back({quantity, &of.begin()->second});
      out += quantity_plots({event, "value", false}, all);
      continue;
    }
    for (const auto& [quantity, of] : quantities) {
      std::vector<Named> all;
      for (const auto& [name, points] : of) {
        all.push_back({name.empty() && of.size() > 1 ? "all" : name, &points});
      }
      out += quantity_plots(about(event, quantity), all);
    }
  }
  return out;
}

std::string weight_plots(const std::vector<TensorHistogram>& histograms) {
  std::string out;
  for (const TensorHistogram& h : histograms) out += histogram(h);
  return out;
}

std::string run_list(const NetworkReport& network) {
  std::string out;
  const ComparisonGrid grid(network.runs);
  const ComparedRun* first = nullptr;  // the best of the first column is open
  if (!grid.columns().empty()) {
    if (const auto best = grid.best(0)) first = grid.cell(*best, 0).done.front();
  }
  for (std::size_t i = 0; i < network.runs.size(); ++i) {
    const ComparedRun& run = network.runs[i];
    const RunDetails& d = network.details[i];
    const std::string what =
        cat("<b>", escaped(run.variant.method), "</b>, ",
            escaped(column_title({"", run.variant.codebook, run.variant.group_rows})), ", seed ",
            run.seed);
    const std::string plots =
        in_grid(training_plots(d.curves, measured_on(network), metric_of(network)) +
                event_plots(d.curves) + rate_plot(d.curves));
    if (!run.result) {
      out += details(
          run.name, false,
          cat(what, " <span class=\"bad\">", run.unfinished ? "unfinished" : "problem", "</span>"),
          cat("<p class=\"bad\">", escaped(run.problem), "</p>", own_settings(network, run),
              plots));
      continue;
    }
    std::string body = result_line(*run.result) + own_settings(network, run) + plots;
    if (!d.histograms.empty()) {
      body += cat(
          "<h3>Weights</h3><p class=\"soft\">Grey: the reference. Blue: the method's own weights "
          "at its end. Stems: the entries of the codebook by the share of the weights that "
          "have them, written where it is beyond the axis.</p>",
          in_grid(weight_plots(d.histograms)));
    }
    out += details(
        run.name, &run == first,
        what + cat(" <span class=\"soft\">", run.result->after.metric().text(), "</span>"), body);
  }
  for (const ReferenceRun& reference : network.references) {
    out += details(
        reference.name, false,
        cat("<b>reference</b>, seed ", reference.seed, " <span class=\"soft\">",
            reference.metric.text(), "</span>"),
        in_grid(training_plots(reference.details.curves, measured_on(network), reference.metric) +
                event_plots(reference.details.curves) + rate_plot(reference.details.curves)));
  }
  return out;
}

}  // namespace tessera::experiment
