#include "apps/common/compression_report.h"

#include <algorithm>
#include <map>

#include "apps/common/latency.h"
#include "apps/common/table.h"
#include "apps/common/terminal.h"

namespace tessera::apps {

namespace {

constexpr std::size_t kKeys = 4;  // method, codebook, scope, seed

// All seeds of one method and codebook.
struct Group {
  Variant variant;
  std::vector<double> before, dc, after, rise;
  std::vector<double> bits, entropy, ratio, seconds;
};

std::vector<Group> group(const std::vector<Compression>& rows) {
  std::vector<Group> groups;
  for (const Compression& row : rows) {
    auto at = std::find_if(groups.begin(), groups.end(),
                           [&](const Group& g) { return g.variant == row.variant; });
    if (at == groups.end()) {
      at = groups.insert(groups.end(), Group{row.variant, {}, {}, {}, {}, {}, {}, {}, {}});
    }
    at->before.push_back(row.before);
    at->dc.push_back(row.direct);
    at->after.push_back(row.after.value());
    at->rise.push_back(row.after.value() - row.before);
    at->bits.push_back(row.bits_per_weight);
    at->entropy.push_back(row.entropy_bits);
    at->ratio.push_back(row.ratio);
    at->seconds.push_back(row.seconds);
  }
  return groups;
}

bool several_seeds(const std::vector<Group>& groups) {
  return std::any_of(groups.begin(), groups.end(),
                     [](const Group& g) { return g.after.size() > 1; });
}

Json figure(const std::vector<double>& values) {
  return {{"mean", number_or_null(mean(values))},
          {"standard_error", number_or_null(standard_error(values))},
          {"n", values.size()}};
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
  const auto groups = group(rows);
  if (!several_seeds(groups)) return;
  Table summary({"method", "codebook", "scope", "seeds", titled("before"), titled("DC"),
                 titled("after"), "rise", "bits/w", "ratio", "seconds"},
                3);
  for (const Group& g : groups) {
    summary.add({g.variant.method, g.variant.codebook, g.variant.scope(),
                 std::to_string(g.after.size()), mean_text(g.before, 3), mean_text(g.dc, 3),
                 mean_text(g.after, 3), mean_text(g.rise, 3), fixed(mean(g.bits), 3),
                 fixed(mean(g.ratio), 2), fixed(mean(g.seconds), 1)});
  }
  out << "\nMeans over seeds +- standard error.\n";
  summary.print(out);
}

Json compressions_json(const std::vector<Compression>& rows) {
  Json out = {{"rows", Json::array()}, {"summary", Json::array()}};
  for (const Compression& row : rows) out["rows"].push_back(row.json());
  for (const Group& g : group(rows)) {
    const std::string& metric = rows.front().after.metric().name;
    out["summary"].push_back({{"method", g.variant.method},
                              {"codebook", g.variant.codebook},
                              {"group_rows", g.variant.group_rows},
                              {"sparse", g.variant.sparse},
                              {metric + "_before", figure(g.before)},
                              {metric + "_dc", figure(g.dc)},
                              {metric + "_after", figure(g.after)},
                              {"rise", figure(g.rise)},
                              {"bits_per_weight", figure(g.bits)},
                              {"entropy_bits", figure(g.entropy)},
                              {"ratio", figure(g.ratio)},
                              {"seconds", figure(g.seconds)}});
  }
  return out;
}

}  // namespace tessera::apps
