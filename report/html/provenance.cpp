// What runs were made with: settings, machines, commands; and all of their figures for other
// programs.
#include <algorithm>

#include "report/html/html.h"
#include "report/html/sections.h"
#include "report/machines.h"
#include "report/table.h"

namespace tessera::experiment {

namespace {

// Of every run and reference that says it.
std::vector<MachineCommands> machines_of(const NetworkReport& network) {
  std::vector<Machine> all;
  const auto add = [&](const std::optional<Machine>& m) {
    if (m) all.push_back(*m);
  };
  for (const ReferenceRun& reference : network.references) add(reference.machine);
  for (const ComparedRun& run : network.runs) {
    if (run.result) add(run.result->machine);
  }
  return by_machine(all);
}

std::string number_text(double value) {
  return exact(value);
}

}  // namespace

std::string machine_line(const NetworkReport& network) {
  const auto all = machines_of(network);
  if (all.empty()) return "";
  return cat(
      "<p class=\"lead\">Measured on ",
      all.size() == 1 ? escaped(all[0].machine) : "several machines or settings, listed below",
      ".</p>\n");
}

std::string machine_list(const NetworkReport& network) {
  std::string out;
  for (const auto& [machine, commands] : machines_of(network)) {
    out += cat("<p>", escaped(machine), "</p>\n<ul>");
    for (const std::string& command : commands)
      out += cat("<li><code>", escaped(command), "</code></li>\n");
    out += "</ul>\n";
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
  const auto done = std::find_if(network.runs.begin(), network.runs.end(),
                                 [](const ComparedRun& run) { return run.result.has_value(); });
  std::vector<std::string> header = {"network", "name", "method", "codebook",   "group_rows",
                                     "sparse",  "seed", "epochs", "measured_on"};
  if (done != network.runs.end()) {
    const Measured& after = done->result->after;
    header.push_back(after.metric().name + "_before");
    header.push_back(after.metric().name + "_dc");
    for (const nn::Metric& metric : after.all.metrics)
      header.push_back(metric.count ? metric.name : metric.name + "_after");
  }
  for (const char* name : {"samples",
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
                           "problem"})
    header.push_back(name);
  std::vector<std::vector<std::string>> rows = {std::move(header)};
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
      const Machine made = r.machine.value_or(Machine{});
      row.insert(row.end(), {std::to_string(r.epochs), r.after.on});
      row.insert(row.end(), {number_text(r.before), number_text(r.direct)});
      for (const nn::Metric& metric : r.after.all.metrics) row.push_back(number_text(metric.value));
      row.push_back(std::to_string(r.after.all.samples));
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

}  // namespace tessera::experiment
