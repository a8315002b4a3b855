#include "report/html/report.h"

#include "core/files/atomic_file.h"
#include "report/html/html.h"
#include "report/html/sections.h"
#include "report/table.h"
#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

// The best of each column in a sentence.
std::string summary(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  const auto references = grid.references();
  if (references.empty()) return "";
  constexpr std::size_t kFew = 12;  // that a sentence can name
  std::string methods;
  if (grid.methods().size() > kFew) methods = cat(grid.methods().size(), " methods");
  for (const std::string& method : grid.methods()) {
    if (grid.methods().size() > kFew) break;
    methods += (methods.empty() ? "" : ", ") + escaped(method);
  }
  std::string out =
      cat(network.runs.size(), network.runs.size() == 1 ? " run of " : " runs of ", methods, ", ",
          references.size(), references.size() == 1 ? " seed" : " seeds", ". Reference ",
          grid.metric().text(mean(references)), ". Best: ");
  std::string best;
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    const auto m = grid.best(c);
    if (!m) continue;
    best += cat(best.empty() ? "" : "; ", escaped(column_title(grid.columns()[c])), " <b>",
                escaped(grid.methods()[*m]), "</b> ",
                grid.metric().text(mean(grid.cell(*m, c).results())));
  }
  if (best.empty()) best = "none";
  return "<p class=\"lead\">" + out + best + ".</p>\n";
}

std::string downloads(const NetworkReport& network) {
  if (network.runs.empty()) return "";
  const std::string name = id_text(network.prefix.empty() ? "runs" : network.prefix) + ".csv";
  return cat("<p class=\"lead\">",
             download_link("All runs as comma-separated values", name, runs_csv(network)),
             "</p>\n");
}

std::string section(const std::string& title, const std::string& about, const std::string& body) {
  if (body.empty()) return "";
  return cat("<h2>", title, "</h2>\n", about.empty() ? "" : "<p class=\"soft\">" + about + "</p>\n",
             body);
}

std::string network_html(const NetworkReport& network) {
  std::string out;
  if (!network.runs.empty()) {
    out += section("Results", "", result_table(network));
    out += section("Without a result", "", problem_list(network));
    out += section("Near the reference",
                   "From the best to the worst, with standard errors where there are several "
                   "seeds; the dashed line is the reference. Arrows lie beyond the axis.",
                   near_plots(network));
    out += section("Result against size",
                   cat("Marks are means over seeds, bars their standard errors. Effective bits are "
                       "the bits of the weights' file by all numbers of the network. Left and ",
                       metric_of(network).lower_is_better ? "down" : "up", " is better."),
                   tradeoff_plot(network));
    out += section("Sizes and times", "", size_table(network));
    out += section("Sizes by tensor",
                   "What the bytes of the weights' file hold, for the best method of each "
                   "codebook.",
                   tensor_tables(network));
    out += section("Training", "Means over seeds.", training_curves(network));
  }
  out += section("Runs", "Open a run for its curves and its weights.", run_list(network));
  out += section("Machine and commands", "", machine_list(network));
  return out + section("Settings", "", settings_table(network));
}

}  // namespace

std::string report_html(const Report& report) {
  std::string body;
  std::string title = report.folder.empty() ? "Tessera" : report.folder;
  for (const NetworkReport& network : report.networks) {
    body += cat("<section>\n<h1>", escaped(network.title), " compressed",
                network.prefix == network.title || network.prefix.empty()
                    ? ""
                    : " (" + escaped(network.prefix) + ")",
                "</h1>\n", summary(network), machine_line(network), downloads(network),
                network_html(network), "</section>\n");
  }
  std::string problems;
  for (const std::string& problem : report.problems) {
    problems += "<li class=\"bad\">" + escaped(problem) + "</li>\n";
  }
  if (!problems.empty()) problems = "<ul>" + problems + "</ul>\n";
  return html_page(title, body + section("Problems of this report", "", problems));
}

void write_report(const Report& report, const std::filesystem::path& file) {
  write_file(file, report_html(report));
}

}  // namespace tessera::experiment
