#include "apps/common/compression_report.h"

#include <algorithm>

#include "apps/common/statistics.h"
#include "apps/common/table.h"

namespace tessera::apps {

namespace {

// All seeds of one method and codebook.
struct Group {
  std::string method, codebook;
  std::vector<double> before, dc, after, rise;
  std::vector<double> bits, entropy, ratio, seconds;
};

std::vector<Group> group(const std::vector<Compression>& rows) {
  std::vector<Group> groups;
  for (const Compression& row : rows) {
    auto at = std::find_if(groups.begin(), groups.end(), [&](const Group& g) {
      return g.method == row.method && g.codebook == row.codebook;
    });
    if (at == groups.end())
      at = groups.insert(groups.end(),
                         Group{row.method, row.codebook, {}, {}, {}, {}, {}, {}, {}, {}});
    at->before.push_back(row.error_before);
    at->dc.push_back(row.error_dc);
    at->after.push_back(row.error_after);
    at->rise.push_back(row.error_after - row.error_before);
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
  return {{"mean", mean(values)}, {"standard_error", standard_error(values)}, {"n", values.size()}};
}

}  // namespace

void print_compressions(std::ostream& out, const std::vector<Compression>& rows) {
  Table table({"method", "codebook", "seed", "before %", "DC %", "after %", "weights B", "JSON B",
               "bits/w", "entropy", "ratio", "dense us", "packed us", "kernel"});
  for (const Compression& row : rows) {
    table.add({row.method, row.codebook, std::to_string(row.seed), fixed(row.error_before, 2),
               fixed(row.error_dc, 2), fixed(row.error_after, 2), std::to_string(row.weights_bytes),
               std::to_string(row.json_bytes), fixed(row.bits_per_weight, 3),
               fixed(row.entropy_bits, 3), fixed(row.ratio, 2), fixed(row.dense_us, 1),
               fixed(row.packed_us, 1), row.kernel});
  }
  out << "Test errors in percent; latency at batch 1, median.\n";
  table.print(out);
  const auto groups = group(rows);
  if (!several_seeds(groups)) return;
  Table summary({"method", "codebook", "seeds", "before %", "DC %", "after %", "rise", "bits/w",
                 "ratio", "seconds"});
  for (const Group& g : groups) {
    summary.add({g.method, g.codebook, std::to_string(g.after.size()), mean_text(g.before, 3),
                 mean_text(g.dc, 3), mean_text(g.after, 3), mean_text(g.rise, 3),
                 fixed(mean(g.bits), 3), fixed(mean(g.ratio), 2), fixed(mean(g.seconds), 1)});
  }
  out << "\nMeans over seeds +- standard error.\n";
  summary.print(out);
}

Json compressions_json(const std::vector<Compression>& rows) {
  Json out = {{"rows", Json::array()}, {"summary", Json::array()}};
  for (const Compression& row : rows) out["rows"].push_back(row.json());
  for (const Group& g : group(rows)) {
    out["summary"].push_back({{"method", g.method},
                              {"codebook", g.codebook},
                              {"error_before", figure(g.before)},
                              {"error_dc", figure(g.dc)},
                              {"error_after", figure(g.after)},
                              {"rise", figure(g.rise)},
                              {"bits_per_weight", figure(g.bits)},
                              {"entropy_bits", figure(g.entropy)},
                              {"ratio", figure(g.ratio)},
                              {"seconds", figure(g.seconds)}});
  }
  return out;
}

}  // namespace tessera::apps
