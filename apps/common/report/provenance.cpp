// What runs were made with: settings, machines, commands; and all of their figures for other
// programs.
#include <algorithm>

#include "apps/common/report/html.h"
#include "apps/common/report/sections.h"
#include "apps/common/table.h"

namespace tessera::apps {

namespace {

// Of every run and reference that says it, each once.
std::vector<Environment> environments_of(const NetworkReport& network) {
  std::vector<Environment> out;
  const auto add = [&](const std::optional<Environment>& e) {
    if (e && std::find(out.begin(), out.end(), *e) == out.end()) out.push_back(*e);
  };
  for (const ReferenceRun& reference : network.references) add(reference.environment);
  for (const ComparedRun& run : network.runs) {
    if (run.result) add(run.result->environment);
  }
  return out;
}

std::string number_text(double value) {
  return exact(value);
}

}  // namespace

std::string environment_line(const NetworkReport& network) {
  const auto all = environments_of(network);
  if (all.empty()) return "";
  const bool one = std::all_of(all.begin(), all.end(),
                               [&](const auto& e) { return e.text() == all.front().text(); });
  return cat("<p class=\"lead\">Measured on ",
             one ? escaped(all.front().text()) : "several machines or settings, listed below",
             ".</p>\n");
}

std::string environment_list(const NetworkReport& network) {
  std::vector<std::pair<std::string, std::string>> machines;  // with the commands on it
  for (const Environment& e : environments_of(network)) {
    const std::string text = e.text();
    auto at = std::find_if(machines.begin(), machines.end(),
                           [&](const auto& machine) { return machine.first == text; });
    if (at == machines.end()) at = machines.insert(machines.end(), {text, ""});
    const std::string line = cat("<li><code>", escaped(e.command), "</code></li>\n");
    if (at->second.find(line) == std::string::npos) at->second += line;
  }
  std::string out;
  for (const auto& [text, commands] : machines) {
    out += cat("<p>", escaped(text), "</p>\n<ul>", commands, "</ul>\n");
  }
  return out;
}

std::string settings_table(const NetworkReport& network) {
  const ComparedRun* first = nullptr;
  for (const ComparedRun& run : network.runs) {
    if (!first && !run.config.empty()) first = &run;
  }
  if (!first) return "";
  Config common = first->config;
  for (const ComparedRun& run : network.runs) {
    if (run.config.empty()) continue;  // of a run without result only its log is known
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

std::string runs_csv(const NetworkReport& network) {
  std::vector<std::vector<std::string>> rows = {{"network",
                                                 "name",
                                                 "method",
                                                 "codebook",
                                                 "group_rows",
                                                 "sparse",
                                                 "seed",
                                                 "epochs",
                                                 "measured_on",
                                                 "error_before",
                                                 "error_dc",
                                                 "error_after",
                                                 "loss_after",
                                                 "correct",
                                                 "samples",
                                                 "bits_per_weight",
                                                 "entropy_bits",
                                                 "effective_bits",
                                                 "weights_bytes",
                                                 "json_bytes",
                                                 "index_bytes",
                                                 "codebook_bytes",
                                                 "sparse_bytes",
                                                 "dense_bytes",
                                                 "ratio",
                                                 "dense_us",
                                                 "dense_median_us",
                                                 "packed_us",
                                                 "packed_median_us",
                                                 "unstable",
                                                 "seconds",
                                                 "distance",
                                                 "cpu",
                                                 "threads",
                                                 "features",
                                                 "version",
                                                 "problem"}};
  for (const ComparedRun& run : network.runs) {
    std::vector<std::string> row = {network.prefix,
                                    run.name,
                                    run.variant.method,
                                    run.variant.codebook,
                                    std::to_string(run.variant.group_rows),
                                    number_text(run.variant.sparse),
                                    std::to_string(run.seed)};
    if (run.result) {
      const Compression& r = *run.result;
      const Environment made = r.environment.value_or(Environment{});
      row.insert(row.end(), {std::to_string(r.epochs), r.after.on});
      for (const double v :
           {r.error_before, r.error_dc, r.after.all.error_percent(), r.after.all.loss})
        row.push_back(number_text(v));
      for (const std::int64_t v : {r.after.all.correct, r.after.all.samples})
        row.push_back(std::to_string(v));
      for (const double v : {r.bits_per_weight, r.entropy_bits, r.effective_bits})
        row.push_back(number_text(v));
      for (const std::int64_t v : {r.weights_bytes, r.json_bytes, r.index_bytes, r.codebook_bytes,
                                   r.sparse_bytes, r.dense_bytes})
        row.push_back(std::to_string(v));
      for (const double v :
           {r.ratio, r.dense_us.least, r.dense_us.median, r.packed_us.least, r.packed_us.median})
        row.push_back(number_text(v));
      row.push_back(r.dense_us.unstable() || r.packed_us.unstable() ? "yes" : "no");
      row.insert(row.end(), {number_text(r.seconds), number_text(r.distance), made.cpu,
                             made.threads == 0 ? "" : std::to_string(made.threads), made.features,
                             made.version});
    }
    row.resize(rows.front().size() - 1);
    row.push_back(run.problem);
    rows.push_back(std::move(row));
  }
  return csv_text(rows);
}

}  // namespace tessera::apps
