#include "experiment/comparison.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "experiment/compression_summary.h"
#include "experiment/task.h"

namespace tessera::experiment {

namespace {

Variant column_of(const Variant& variant) {
  return {"", variant.codebook, variant.group_rows, variant.sparse};
}

template <class T>
std::size_t place_of(std::vector<T>& list, const T& item) {
  const auto at = std::find(list.begin(), list.end(), item);
  if (at != list.end()) return static_cast<std::size_t>(at - list.begin());
  list.push_back(item);
  return list.size() - 1;
}

}  // namespace

std::vector<double> ComparisonCell::values(
    const std::function<double(const Compression&)>& of) const {
  std::vector<double> out;
  for (const ComparedRun* run : done) out.push_back(of(*run->result));
  return out;
}
std::vector<double> ComparisonCell::results() const {
  return values([](const Compression& r) { return r.after.value(); });
}
std::vector<double> ComparisonCell::rises() const {
  return values([](const Compression& r) { return r.after.value() - r.before; });
}

Timing ComparisonCell::timing(Timing Compression::*of) const {
  std::vector<Timing> all;
  for (const ComparedRun* run : done) all.push_back(run->result.value().*of);
  return together(all);
}

ComparisonGrid::ComparisonGrid(const std::vector<ComparedRun>& runs) : runs_(runs) {
  for (const ComparedRun& run : runs) {
    place_of(methods_, run.variant.method);
    place_of(columns_, column_of(run.variant));
  }
  cells_.resize(methods_.size() * columns_.size());
  for (const ComparedRun& run : runs) {
    ComparisonCell& cell = cells_[place_of(methods_, run.variant.method) * columns_.size() +
                                  place_of(columns_, column_of(run.variant))];
    (run.result ? cell.done : cell.failed).push_back(&run);
  }
}

const ComparisonCell& ComparisonGrid::cell(std::size_t method, std::size_t column) const {
  return cells_.at(method * columns_.size() + column);
}

std::optional<std::size_t> ComparisonGrid::best(std::size_t column) const {
  std::optional<std::size_t> out;
  for (std::size_t m = 0; m < methods_.size(); ++m) {
    const ComparisonCell& candidate = cell(m, column);
    if (candidate.done.empty() || !candidate.failed.empty()) continue;
    const double value = mean(candidate.results());
    if (!std::isfinite(value)) continue;
    const double other = out ? mean(cell(*out, column).results()) : metric().worst();
    if (metric().lower_is_better ? value < other : value > other) out = m;
  }
  return out;
}

std::optional<std::int64_t> ComparisonGrid::epochs(std::size_t method) const {
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const ComparisonCell& runs = cell(method, c);
    if (!runs.done.empty()) return runs.done.front()->result->epochs;
  }
  return std::nullopt;
}

std::vector<double> ComparisonGrid::references() const {
  std::map<std::int64_t, double> by_seed;
  for (const ComparedRun& run : runs_) {
    if (run.result) by_seed[run.seed] = run.result->before;
  }
  std::vector<double> out;
  for (const auto& [seed, value] : by_seed) out.push_back(value);
  return out;
}

nn::Metric ComparisonGrid::metric() const {
  for (const ComparedRun& run : runs_) {
    if (run.result) return run.result->after.metric();
  }
  return unknown_metric();
}

std::string ComparisonGrid::measured_on() const {
  return experiment::measured_on(runs_.empty() ? Config() : runs_.front().config);
}

std::string column_title(const Variant& column) {
  const std::string scope =
      column.group_rows == 0 && column.sparse == 0 ? "" : ", " + column.scope();
  const std::string adaptive = "adaptive:";
  int k = 0;
  if (column.codebook.starts_with(adaptive)) {
    const char* end = column.codebook.data() + column.codebook.size();
    std::from_chars(column.codebook.data() + adaptive.size(), end, k);
  }
  for (int bits = 1; bits <= 8; ++bits) {
    if (k == 1 << bits) return cat(bits, bits == 1 ? " bit" : " bits", scope);
  }
  return column.codebook + scope;
}

Json comparison_json(const std::vector<ComparedRun>& runs) {
  std::vector<Compression> done;
  std::vector<const ComparedRun*> from;
  for (const ComparedRun& run : runs) {
    if (!run.result) continue;
    done.push_back(*run.result);
    from.push_back(&run);
  }
  Json out = compressions_json(done);
  for (std::size_t i = 0; i < from.size(); ++i) {
    out["rows"][i]["name"] = from[i]->name;
    out["rows"][i]["config"] = from[i]->config;
  }
  out["best"] = Json::array();
  const ComparisonGrid grid(runs);
  for (std::size_t c = 0; c < grid.columns().size(); ++c) {
    const Variant& column = grid.columns()[c];
    if (const auto best = grid.best(c)) {
      out["best"].push_back({{"codebook", column.codebook},
                             {"group_rows", column.group_rows},
                             {"sparse", column.sparse},
                             {"method", grid.methods()[*best]}});
    }
  }
  out["failed"] = Json::array();
  for (const ComparedRun& run : runs) {
    if (run.result) continue;
    out["failed"].push_back({{"name", run.name},
                             {"method", run.variant.method},
                             {"codebook", run.variant.codebook},
                             {"group_rows", run.variant.group_rows},
                             {"sparse", run.variant.sparse},
                             {"seed", run.seed},
                             {"problem", run.problem},
                             {"config", run.config}});
  }
  return out;
}

}  // namespace tessera::experiment
