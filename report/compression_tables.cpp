#include "report/compression_tables.h"

#include <algorithm>
#include <map>

#include "core/text.h"
#include "experiment/compression_summary.h"
#include "report/machines.h"
#include "report/table.h"
#include "report/terminal.h"
#include "timing/latency.h"

namespace tessera::experiment {

namespace {

constexpr std::size_t kKeys = 4;  // method, codebook, scope, seed

bool several_seeds(const std::vector<SeedGroup>& groups) {
  return std::any_of(groups.begin(), groups.end(),
                     [](const SeedGroup& g) { return g.after.size() > 1; });
}

// Each op that reads a codebook weight decoded whole, and in which of the models.
void print_decoded(std::ostream& out, const std::vector<Compression>& rows) {
  std::map<std::string, std::int64_t> lines;
  for (const Compression& row : rows) {
    for (const std::string& line : row.decoded) ++lines[line];
  }
  if (lines.empty()) return;
  out << "\nDecoded whole, for want of a kernel that reads codebook storage:\n";
  for (const auto& [line, models] : lines) {
    out << "  " << escaped(line);
    if (rows.size() > 1) out << " (" << models << " of " << rows.size() << " models)";
    out << "\n";
  }
}

}  // namespace

void print_compressions(std::ostream& out, const std::vector<Compression>& rows) {
  if (rows.empty()) return;
  const nn::Metric metric = rows.front().after.metric();
  const auto titled = [&](const char* title) { return with_unit(title, metric); };
  std::vector<std::string> header = {"method",         "codebook",   "scope",        "seed",
                                     titled("before"), titled("DC"), titled("after")};
  for (auto& name : extra_columns(rows.front().after)) header.push_back(std::move(name));
  const bool coded = std::any_of(rows.begin(), rows.end(),
                                 [](const Compression& row) { return row.entropy_coded(); });
  for (const char* name : {"weights B", "JSON B", "bits/w", "entropy"}) header.push_back(name);
  if (coded) header.insert(header.end(), {"file b/w", "indices B", "coded B"});
  for (const char* name : {"effective", "ratio", "dense us", "packed us", "decoded", "kernel"}) {
    header.push_back(name);
  }
  Table table(std::move(header), kKeys);
  for (const Compression& row : rows) {
    std::vector<std::string> cells = {row.variant.method,
                                      row.variant.codebook,
                                      row.variant.scope(),
                                      std::to_string(row.seed),
                                      fixed(row.before, metric.digits),
                                      fixed(row.direct, metric.digits),
                                      fixed(row.after.value(), metric.digits)};
    for (auto& cell : extra_cells(row.after)) cells.push_back(std::move(cell));
    for (auto& cell : {std::to_string(row.weights_bytes), std::to_string(row.json_bytes),
                       fixed(row.bits_per_weight, 3), fixed(row.entropy_bits, 3)}) {
      cells.push_back(cell);
    }
    if (coded) {
      cells.insert(cells.end(),
                   {fixed(row.file_bits_per_weight, 3), std::to_string(row.index_bytes),
                    std::to_string(row.file_index_bytes)});
    }
    for (auto& cell :
         {fixed(row.effective_bits, 3), fixed(row.ratio, 2), least_text(row.dense_us, 1),
          least_text(row.packed_us, 1), std::to_string(row.decoded.size()), row.kernel}) {
      cells.push_back(cell);
    }
    table.add(std::move(cells));
  }
  std::string legend =
      capitalized(rows.front().after.on) + " " + in_units(metric) +
      "; weights B: the file with every weight, bias and statistic; bits a "
      "coded weight (as stored, by entropy) and effective: the file's bits by all numbers of the "
      "network; ratio: as f32 by as stored, without the file's header; latency at batch 1, "
      "the least of several rounds' medians.\n";
  if (coded) {
    legend +=
        "file b/w: bits a coded weight in the file, whose indices are entropy-coded from indices B "
        "to coded B; all of it is decoded at load.\n";
  }
  out << wrapped(legend, terminal_columns(out));
  table.print(out);
  std::vector<Machine> machines;
  bool unstable = false;
  for (const Compression& row : rows) {
    unstable = unstable || row.dense_us.unstable() || row.packed_us.unstable();
    if (row.machine) machines.push_back(*row.machine);
  }
  if (unstable) out << wrapped(cat(kUnstableNote, ".\n"), terminal_columns(out));
  out << machines_text(machines, terminal_columns(out));
  print_decoded(out, rows);
  const auto groups = by_variant(rows);
  if (!several_seeds(groups)) return;
  Table summary({"method", "codebook", "scope", "seeds", titled("before"), titled("DC"),
                 titled("after"), "rise", "bits/w", "ratio", "seconds"},
                3);
  for (const SeedGroup& g : groups) {
    summary.add({g.variant.method, g.variant.codebook, g.variant.scope(),
                 std::to_string(g.after.size()), mean_text(g.before, 3), mean_text(g.dc, 3),
                 mean_text(g.after, 3), mean_text(g.rise, 3), fixed(mean(g.bits), 3),
                 fixed(mean(g.ratio), 2), fixed(mean(g.seconds), 1)});
  }
  out << "\nMeans over seeds +- standard error.\n";
  summary.print(out);
}

}  // namespace tessera::experiment
