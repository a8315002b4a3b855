// The tables of a report.
#include <cmath>

#include "apps/common/report/html.h"
#include "apps/common/report/sections.h"
#include "apps/common/statistics.h"
#include "apps/common/table.h"

namespace tessera::apps {

namespace {

std::string mean_html(const std::vector<double>& values, int digits) {
  const std::string text = fixed(mean(values), digits);
  return values.size() < 2 ? text : cat(text, " &#177; ", fixed(standard_error(values), digits));
}

std::string points_html(double value) {
  return cat(value < 0 ? "&#8722;" : "+", fixed(std::abs(value), 2));
}

// "35,627"
std::string grouped(double value) {
  std::string text = fixed(value, 0);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string error_cell(const ComparisonCell& cell, bool best) {
  if (cell.done.empty()) {
    return cell.failed.empty() ? "&#8211;"
                               : cat("<a class=\"bad\" href=\"#", run_id(cell.failed.front()->name),
                                     "\">problem</a>");
  }
  std::string out =
      cat("<a", best ? " class=\"best\"" : "", " href=\"#", run_id(cell.done.front()->name), "\">",
          mean_html(cell.errors(), 2), "</a><span class=\"delta\">",
          points_html(mean(cell.rises())), " points</span>");
  if (!cell.failed.empty()) {
    out += cat("<span class=\"delta bad\">", cell.failed.size(), " failed</span>");
  }
  return out;
}

}  // namespace

std::string error_table(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  HtmlTable table;
  const auto references = grid.references();
  table.caption =
      cat(capitalized(measured_on(network)), " error in percent",
          references.size() < 2
              ? std::string()
              : cat(", mean over ", references.size(), " seeds &#177; standard error"),
          "; below it the difference to the reference. The best method of each column is "
          "marked.");
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
    reference.push_back(c == 0 && !references.empty() ? mean_html(references, 2) : "");
  }
  table.rows.push_back(std::move(reference));
  for (std::size_t m = 0; m < grid.methods().size(); ++m) {
    const auto epochs = grid.epochs(m);
    std::vector<std::string> row = {escaped(grid.methods()[m]), !epochs   ? "&#8211;"
                                                                : *epochs ? std::to_string(*epochs)
                                                                          : "no training"};
    for (std::size_t c = 0; c < grid.columns().size(); ++c) {
      row.push_back(error_cell(grid.cell(m, c), grid.best(c) == m));
    }
    table.rows.push_back(std::move(row));
  }
  return table.html();
}

std::string size_table(const NetworkReport& network) {
  const ComparisonGrid grid(network.runs);
  HtmlTable table;
  table.caption =
      "Means over seeds. Bits a coded weight as stored, and by the entropy of its codes; "
      "effective: "
      "bits of the weights' file by all numbers of the network; latency at batch 1, median.";
  table.left = 2;
  table.header = {"codebook",       "method",          "bits/weight", "entropy, bits",
                  "effective bits", "file, bytes",     "JSON, bytes", "smaller by",
                  "dense, &#181;s", "packed, &#181;s", "training, s"};
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    for (std::size_t m = 0; m < grid.methods().size(); ++m) {
      const ComparisonCell& cell = grid.cell(m, c);
      if (cell.done.empty()) continue;
      const auto of = [&](auto&& field) { return mean(cell.values(field)); };
      using C = const Compression&;
      table.rows.push_back({escaped(column_title(grid.columns()[c])), escaped(grid.methods()[m]),
                            fixed(of([](C r) { return r.bits_per_weight; }), 3),
                            fixed(of([](C r) { return r.entropy_bits; }), 3),
                            fixed(of([](C r) { return r.effective_bits; }), 3),
                            grouped(of([](C r) { return static_cast<double>(r.weights_bytes); })),
                            grouped(of([](C r) { return static_cast<double>(r.json_bytes); })),
                            fixed(of([](C r) { return r.ratio; }), 1) + "&#215;",
                            fixed(of([](C r) { return r.dense_us; }), 1),
                            fixed(of([](C r) { return r.packed_us; }), 1),
                            fixed(of([](C r) { return r.seconds; }), 1)});
    }
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

std::string settings_table(const NetworkReport& network) {
  if (network.runs.empty()) return "";
  Config common = network.runs.front().config;
  for (const ComparedRun& run : network.runs) {
    std::erase_if(common, [&](const auto& item) {
      const auto found = run.config.find(item.first);
      return found == run.config.end() || found->second != item.second;
    });
  }
  HtmlTable table{.caption = "The same in all runs; what differs stands with each run.",
                  .header = {"setting", "value"},
                  .left = 2};
  for (const auto& [key, value] : common) {
    table.rows.push_back({escaped(key), "<code>" + escaped(value) + "</code>"});
  }
  return table.html();
}

}  // namespace tessera::apps
