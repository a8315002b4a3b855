#include "report/layer_table.h"

#include <algorithm>
#include <utility>

#include "core/text.h"
#include "timing/peak.h"

namespace tessera::experiment {

Peaks measure_peaks() {
  return {measure_peak_gflops(), measure_peak_byte_gops()};
}

double Peaks::rate(std::string_view kernels) const {
  return kernels.find("_s8_") == kernels.npos ? flops : byte_ops;
}

std::string Peaks::text() const {
  return cat("floor: operations at ", fixed(flops, 0), " GFLOP/s, in integers at ",
             fixed(byte_ops, 0),
             " GOP/s, or operands and results as fast as this machine reads so many bytes again "
             "and again, all measured now; kernels that transform images (Winograd) do fewer");
}

std::vector<LayerWay> three_ways(const Model& dense, const Model& packed, std::int64_t batch,
                                 CompileOptions options) {
  options.batch = batch;
  options.int8 = false;
  std::vector<LayerWay> ways = {{"dense", &dense, options}, {"exact", &packed, options}};
  options.int8 = true;
  ways.push_back({"integers", &packed, options});
  return ways;
}

LayerTimes::LayerTimes(std::vector<LayerWay> ways, const Peaks& peaks) : ways_(std::move(ways)) {
  std::map<std::int64_t, double> gbps;  // by bytes, in powers of two
  const auto read_rate = [&](std::int64_t bytes) {
    std::int64_t size = 4096;
    while (size < bytes) size *= 2;
    auto [at, made] = gbps.try_emplace(size, 0);
    if (made) at->second = measure_read_gbps(size);
    return at->second;
  };
  for (std::size_t w = 0; w < ways_.size(); ++w) {
    for (LayerTime& time : measure_layers(*ways_[w].model, ways_[w].options)) {
      auto row = std::find_if(rows_.begin(), rows_.end(),
                              [&](const Row& r) { return r.weight == time.weight; });
      if (row == rows_.end()) {
        // What reads no weight stays last.
        const bool rest = !rows_.empty() && rows_.back().weight.empty();
        row = rows_.insert(rows_.end() - rest, Row{time.weight, time.type, {}});
      }
      row->cells.resize(ways_.size());
      const double rate = peaks.rate(time.kernels);
      const double floor =
          std::max(time.flops / rate, static_cast<double>(time.bytes) / read_rate(time.bytes)) /
          1e3;
      row->cells[w] = {std::move(time), floor};
    }
  }
  for (Row& row : rows_) row.cells.resize(ways_.size());
}

Table LayerTimes::table() const {
  std::vector<std::string> header = {"layer", "result"};
  for (const LayerWay& way : ways_) {
    for (const char* what : {" us", " floor %", " kernel"}) header.push_back(way.name + what);
  }
  Table table(header, 1);
  std::vector<double> sums(ways_.size());
  for (const Row& row : rows_) {
    std::vector<std::string> cells = {
        row.weight.empty() ? "(no weight)" : row.weight,
        row.weight.empty() ? "" : row.type.substr(0, row.type.find('@'))};
    for (std::size_t w = 0; w < ways_.size(); ++w) {
      const Cell& cell = row.cells[w];
      sums[w] += cell.time.us;
      cells.push_back(fixed(cell.time.us, 1));
      cells.push_back(cell.time.us > 0 ? fixed(100 * cell.floor_us / cell.time.us, 0) : "");
      cells.push_back(cell.time.kernels);
    }
    table.add(std::move(cells));
  }
  std::vector<std::string> last = {"all", ""};
  for (const double sum : sums) {
    last.push_back(fixed(sum, 1));
    last.insert(last.end(), {"", ""});
  }
  table.add(std::move(last));
  return table;
}

Json LayerTimes::json() const {
  Json rows = Json::array();
  for (const Row& row : rows_) {
    Json ways = Json::object();
    for (std::size_t w = 0; w < ways_.size(); ++w) {
      const Cell& cell = row.cells[w];
      ways[ways_[w].name] = {{"least_us", cell.time.us},
                             {"floor_us", cell.floor_us},
                             {"flops", cell.time.flops},
                             {"bytes", cell.time.bytes},
                             {"kernel", cell.time.kernels}};
    }
    rows.push_back({{"layer", row.weight}, {"result", row.type}, {"ways", ways}});
  }
  return rows;
}

}  // namespace tessera::experiment
