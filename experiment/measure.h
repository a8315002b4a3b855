// How well a network does, on all that is measured and on each part of it.
#pragma once

#include <string>
#include <vector>

#include "core/files/json_io.h"
#include "experiment/task.h"

namespace tessera::experiment {

struct Part {
  std::string name;
  nn::Evaluation result;
  bool seen = false;  // as TestSet's
};

struct Measured {
  nn::Evaluation all;       // of what the network has not seen
  std::vector<Part> parts;  // in the order of the test sets
  std::string on = "test";  // or "validation", as Data::measured_on

  const nn::Metric& metric() const { return all.metric(); }  // the main one
  double value() const { return metric().value; }
  // "test error 2.13 % (9787 of 10000 correct)", what else the task shows, each part where there
  // are several, and what counts for nothing because the network may have been trained on it.
  std::string text() const;
  // "measured_on", "samples", every metric as metric_key() has it and, whole, in "metrics"; the
  // same of each of "parts".
  Json json() const;
  static Measured parse(const JsonAt& at);
};

// "test_error"; counts go by their name alone ("correct").
std::string metric_key(const nn::Metric& metric, const std::string& on);
// "error %", "before %": a column's title.
std::string with_unit(const std::string& title, const nn::Metric& metric);
// "error in percent"
std::string in_units(const nn::Metric& metric);
// The metric for what has no result yet.
nn::Metric unknown_metric();

// Measures an inference graph, compiled as `options` say but for the batch. `batch` 0:
// nn::evaluation_batch().
Measured measure(const Graph& graph, State& state, const Data& data,
                 const CompileOptions& options = {}, std::int64_t batch = 0);

// What a table shows beside the main metric on everything: the task's other shown metrics, and the
// main one on each part.
std::vector<std::string> extra_columns(const Measured& measured);
std::vector<std::string> extra_cells(const Measured& measured);

}  // namespace tessera::experiment
