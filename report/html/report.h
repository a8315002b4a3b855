// A report of results: one HTML file that needs nothing else.
#pragma once

#include "experiment/comparison.h"
#include "report/html/run_curves.h"

namespace tessera::experiment {

// As weight_histograms() wrote it (experiment/histograms.h).
struct TensorHistogram {
  std::string name, shape;
  double low = 0, high = 0;
  std::vector<double> reference, after, decoded;  // weights in each bin
  std::vector<double> entries, counts;
  std::int64_t k = 0, groups = 0;
};

// What a run left beside its result.
struct RunDetails {
  RunCurves curves;
  std::vector<TensorHistogram> histograms;
};

struct ReferenceRun {
  std::string name;
  std::int64_t seed = 0;
  nn::Metric metric;  // the main one
  std::int64_t bytes = 0;
  Config config;
  std::optional<Machine> machine;
  RunDetails details;
};

// All runs of one network.
struct NetworkReport {
  std::string title;   // "lenet300, activation tanh"
  std::string prefix;  // of its files
  std::vector<ReferenceRun> references;
  // By codebook, scope, method, seed.
  std::vector<ComparedRun> runs;
  std::vector<RunDetails> details;  // of each run
};

struct Report {
  std::string folder;  // its last name
  std::vector<NetworkReport> networks;
  std::vector<std::string> problems;  // of reading
  std::int64_t damaged = 0;           // results left out for theirs
};

// From every result in a folder, or only from those with these names, with the logs and histograms
// beside them; and from the logs of runs that have no result yet. Throws Error when there is
// neither, and where no result can be read; one that is damaged, a log or histograms that cannot be
// read are problems of the report.
Report load_report(const std::filesystem::path& folder, const std::vector<std::string>& names = {});

// Throws Error for histograms that are not as weight_histograms() writes them.
std::vector<TensorHistogram> read_histograms(const std::filesystem::path& file);

std::string report_html(const Report& report);
void write_report(const Report& report, const std::filesystem::path& file);

}  // namespace tessera::experiment
