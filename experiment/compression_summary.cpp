#include "experiment/compression_summary.h"

#include <algorithm>

#include "timing/statistics.h"

namespace tessera::experiment {

namespace {

Json figure(const std::vector<double>& values) {
  return {{"mean", number_or_null(mean(values))},
          {"standard_error", number_or_null(standard_error(values))},
          {"n", values.size()}};
}

}  // namespace

std::vector<SeedGroup> by_variant(const std::vector<Compression>& rows) {
  std::vector<SeedGroup> groups;
  for (const Compression& row : rows) {
    auto at = std::find_if(groups.begin(), groups.end(),
                           [&](const SeedGroup& g) { return g.variant == row.variant; });
    if (at == groups.end()) {
      at = groups.insert(groups.end(), SeedGroup{row.variant, {}, {}, {}, {}, {}, {}, {}, {}});
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

Json compressions_json(const std::vector<Compression>& rows) {
  Json out = {{"rows", Json::array()}, {"summary", Json::array()}};
  for (const Compression& row : rows) out["rows"].push_back(row.json());
  for (const SeedGroup& g : by_variant(rows)) {
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

}  // namespace tessera::experiment
