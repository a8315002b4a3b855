// The tables of a report.
#include <cmath>

#include "core/text.h"
#include "report/html/html.h"
#include "report/html/sections.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

std::string mean_html(const std::vector<double>& values, int digits) {
  const std::string text = fixed(mean(values), digits);
  return values.size() < 2 ? text : cat(text, " &#177; ", fixed(standard_error(values), digits));
}

std::string points_html(double value) {
  const std::string text = fixed(std::abs(value), 2);
  return cat(text == "0.00" ? "&#177;" : value < 0 ? "&#8722;" : "+", text);
}

std::string result_cell(const ComparisonCell& cell, const nn::Metric& metric, bool best) {
  if (cell.done.empty()) {
    if (cell.failed.empty()) return "&#8211;";
    const ComparedRun& run = *cell.failed.front();
    return cat("<a class=\"bad\" href=\"#", run_id(run.name), "\">",
               run.unfinished ? "unfinished" : "problem", "</a>");
  }
  std::string out =
      cat("<a", best ? " class=\"best\"" : "", " href=\"#", run_id(cell.done.front()->name), "\">",
          mean_html(cell.results(), metric.digits), "</a><span class=\"delta\">",
          points_html(mean(cell.rises())), metric.unit == "%" ? " points" : "", "</span>");
  if (!cell.failed.empty()) {
    out += cat("<span class=\"delta bad\">", cell.failed.size(), " without result</span>");
  }
  return out;
}

}  // namespace

std::string result_table(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  HtmlTable table;
  const auto references = grid.references();
  table.caption =
      cat(capitalized(measured_on(network)), " ", in_units(grid.metric()),
          references.size() < 2
              ? std::string()
              : cat(", mean over ", references.size(), " seeds &#177; standard error"),
          "; below it the difference to the reference. The best method of each column is "
          "marked; a mean leads to its run.");
  table.header = {"method", "epochs"};
  for (const Variant& column : grid.columns())
    table.header.push_back(escaped(column_title(column)));
  std::vector<std::string> reference = {"<i>reference</i>", "&#8211;"};
  if (!network.references.empty()) {
    const auto& config = network.references.front().config;
    if (const auto n = config.find("reference.epochs"); n != config.end()) {
      reference[1] = escaped(n->second);
    }
  }
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    reference.push_back(c == 0 && !references.empty() ? mean_html(references, grid.metric().digits)
                                                      : "");
  }
  table.first.push_back(std::move(reference));
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    const auto epochs = grid.epochs(m);
    std::vector<std::string> row = {escaped(grid.methods()[m]), !epochs   ? "&#8211;"
                                                                : *epochs ? std::to_string(*epochs)
                                                                          : "none"};
    for (std::size_t c = 0; c < grid.columns().size(); ++c) {
      row.push_back(result_cell(grid.cell(m, c), grid.metric(), grid.best(c) == m));
    }
    table.rows.push_back(std::move(row));
  }
  return table.html();
}

std::string problem_list(const NetworkReport& network) {
  std::string out;
  for (const ComparedRun& run : network.runs) {
    if (run.result) continue;
    out += cat("<li>", escaped(run.variant.text()), ", seed ", run.seed, ": <span class=\"bad\">",
               escaped(run.problem), "</span></li>\n");
  }
  return out.empty() ? "" : "<ul>" + out + "</ul>";
}

}  // namespace tessera::experiment
