#include "timing/tuning.h"

#include <algorithm>
#include <utility>

#include "core/cpu.h"
#include "core/files/atomic_file.h"
#include "core/files/json_io.h"
#include "core/text.h"
#include "timing/row_trial.h"

namespace tessera::experiment {

namespace {

constexpr double kGain = 0.95;  // smaller gains are noise
constexpr int kRuns = 5;
constexpr double kSeconds = 0.01;  // for each row
constexpr std::string_view kFormat = "tessera kernels 1";

std::string key_of(const KernelQuery& query) {
  const Node& node = query.node;
  Attrs attrs = node.attrs();
  std::string key = cat(node.op().name, attrs.text(), " (");
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const Value v = node.inputs()[i];
    key += cat(i ? ", " : "", v ? v.type().text() : "-", query.fixed[i] ? " fixed" : "");
  }
  return cat(key, ") ", text(query.features), " threads=", query.threads, query.bf16 ? " bf16" : "",
             query.int8 ? " int8" : "", query.wanted.empty() ? "" : " for ", query.wanted);
}

}  // namespace

Tuning::Tuning(std::filesystem::path file) : file_(std::move(file)) {
  if (file_.empty() || !file_exists(file_)) return;
  const Json document = parse_json(read_file(file_), file_.string());
  const JsonAt root(document, file_.string());
  root.only({"format", "processor", "kernels"});
  const std::string format = root.at("format").text();
  if (format != kFormat)
    root.at("format").fail("expected ", Quoted{kFormat}, ", got ", Quoted{format});
  const std::string processor = root.at("processor").text();
  if (processor != processor_name())
    root.at("processor")
        .fail("measured on ", Quoted{processor}, ", this is ", Quoted{processor_name()},
              "; name another file");
  for (const auto& [key, row] : root.at("kernels").fields()) rows_[key] = row.text();
}

std::size_t Tuning::choose(const KernelQuery& query, std::span<const RowCandidate> rows) {
  if (rows.size() < 2 || query.node.op().has(kCommunicates)) return 0;
  std::vector<std::size_t> tried = {0};
  for (std::size_t i = 1; i < rows.size(); ++i) {
    // Plain loops are for where nothing else serves.
    if (rows[i].plan.layout == rows[0].plan.layout && rows[i].row->needs != kScalar)
      tried.push_back(i);
  }
  if (tried.size() < 2) return 0;
  const std::string key = key_of(query);
  const Node& node = query.node;
  const auto changed = [&](std::size_t i, double rule, double taken) {
    if (i == 0) return i;
    changes_.push_back({std::string(node.op().name), node.name(), node.types()[0].text(),
                        std::string(rows[0].row->name), std::string(rows[i].row->name), 1e6 * rule,
                        1e6 * taken});
    return i;
  };
  if (const auto known = rows_.find(key); known != rows_.end()) {
    // A row of another version is measured again.
    for (const std::size_t i : tried) {
      if (rows[i].row->name == known->second) return changed(i, 0, 0);
    }
  }
  std::vector<RowTrial> trials;
  trials.reserve(tried.size());
  for (const std::size_t i : tried) trials.emplace_back(query, rows[i].plan);
  std::vector<double> seconds = least_seconds(trials, false, kRuns, kSeconds);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    double packing = trials[i].pack();
    for (int r = 1; r < kRuns; ++r) packing = std::min(packing, trials[i].pack());
    seconds[i] += packing;
  }
  const auto best =
      static_cast<std::size_t>(std::min_element(seconds.begin(), seconds.end()) - seconds.begin());
  const std::size_t chosen = seconds[best] < kGain * seconds[0] ? best : 0;
  rows_[key] = rows[tried[chosen]].row->name;
  ++measured_;
  return changed(tried[chosen], seconds[0], seconds[chosen]);
}

void Tuning::save() {
  if (file_.empty() || measured_ == 0) return;
  const Json document = {{"format", kFormat}, {"processor", processor_name()}, {"kernels", rows_}};
  write_file(file_, json_text(document, 1) + "\n");
}

}  // namespace tessera::experiment
