// The parts of a report, as HTML.
#pragma once

#include <string>

#include "report/html/report.h"

namespace tessera::experiment {

// Errors, methods by codebooks, the best of each column marked; each mean links to its first run.
std::string result_table(const NetworkReport& network);
// What has no result, and why.
std::string problem_list(const NetworkReport& network);
// Bits, bytes and times.
std::string size_table(const NetworkReport& network);
// Bytes of each tensor by what they hold, of the best run of each codebook.
std::string tensor_tables(const NetworkReport& network);
// Machines and commands that runs were made with.
std::string machine_list(const NetworkReport& network);
// The machine when there is one only.
std::string machine_line(const NetworkReport& network);
// A row for every run, for other programs.
std::string runs_csv(const NetworkReport& network);
// What all runs have in common of their configuration.
std::string settings_table(const NetworkReport& network);

// The main metric against effective bits a weight.
std::string tradeoff_plot(const NetworkReport& network);
// Results by method on an axis that shows what lies close to the reference, by codebook.
std::string near_plots(const NetworkReport& network);

// Training loss and main metric of the compressed network by epochs: a plot per codebook, a line
// per method, means over seeds.
std::string training_curves(const NetworkReport& network);

// Every run with its curves, weights and configuration, closed but for the first.
std::string run_list(const NetworkReport& network);

// "test" or "validation": what the results of a network are measured on.
std::string measured_on(const NetworkReport& network);
// The main metric of a network's results, and the title of an axis of it: "test error, %".
nn::Metric metric_of(const NetworkReport& network);
std::string axis_title(const std::string& title, const nn::Metric& metric);
// The id of a run's element.
std::string run_id(const std::string& name);
// A number of a method that stays the same all over the report.
int series_of(const NetworkReport& network, const std::string& method);

// Plots of whatever quantities a run's events carry more than once.
std::string event_plots(const RunCurves& curves);
// Weights before and after compression, a plot for each tensor.
std::string weight_plots(const std::vector<TensorHistogram>& histograms);

}  // namespace tessera::experiment
