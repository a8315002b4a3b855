// Inference layer by layer, several ways side by side.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/files/json_io.h"
#include "core/model.h"
#include "report/table.h"
#include "timing/latency.h"

namespace tessera::experiment {

// One way to run a network.
struct LayerWay {
  std::string name;  // "dense", "exact", "integers"
  const Model* model = nullptr;
  CompileOptions options;
};

// Rates that floors are reckoned from, in 10^9 a second: operations on floats and on bytes.
struct Peaks {
  double flops = 0, byte_ops = 0;
  // That of kernels by their names: those in integers have s8 in them.
  double rate(std::string_view kernels) const;
  std::string text() const;  // what a floor is, with both
};
Peaks measure_peaks();

// Dense, exact from codebooks, and in integers.
std::vector<LayerWay> three_ways(const Model& dense, const Model& packed, std::int64_t batch,
                                 CompileOptions options);

// Measures all ways, in turn. A layer's floor is its operations at the rate of the way's numbers,
// or its operands and results at the rate that so many bytes are read, whichever is longer; a
// layer whose images are transformed (Winograd) may take less.
class LayerTimes {
 public:
  LayerTimes(std::vector<LayerWay> ways, const Peaks& peaks);
  Table table() const;  // microseconds
  Json json() const;

 private:
  struct Cell {
    LayerTime time;
    double floor_us = 0;
  };
  struct Row {
    std::string weight, type;
    std::vector<Cell> cells;  // of each way
  };
  std::vector<LayerWay> ways_;
  std::vector<Row> rows_;
};

}  // namespace tessera::experiment
