// Runs of one network side by side: methods down, codebooks across.
#pragma once

#include "experiment/compression.h"

namespace tessera::experiment {

// One run: finished, or why it is not.
struct ComparedRun {
  std::string name;  // of its files
  Variant variant;
  std::int64_t seed = 0;
  Config config;
  std::optional<Compression> result;
  std::string problem;
  bool unfinished = false;  // interrupted or still at work; then the problem says how far it is
};

// All seeds of one method at one codebook.
struct ComparisonCell {
  std::vector<const ComparedRun*> done, failed;

  std::vector<double> values(const std::function<double(const Compression&)>& of) const;
  std::vector<double> results() const;           // the main metric after compression
  std::vector<double> rises() const;             // of it over the reference's
  Timing timing(Timing Compression::*of) const;  // of all runs, as rounds of one measurement
};

class ComparisonGrid {
 public:
  // Refers to the runs, which must outlive it. Rows and columns are in the order of the runs.
  explicit ComparisonGrid(const std::vector<ComparedRun>& runs);

  const std::vector<std::string>& methods() const { return methods_; }
  // Codebook and scope of each column; the method of these is empty.
  const std::vector<Variant>& columns() const { return columns_; }
  const ComparisonCell& cell(std::size_t method, std::size_t column) const;
  // The method with the best mean of the column, among those of which no seed failed.
  std::optional<std::size_t> best(std::size_t column) const;
  // Epochs of training of a method, 0 where it does not train; none where no run finished.
  std::optional<std::int64_t> epochs(std::size_t method) const;
  // The main metric of the references, one per seed.
  std::vector<double> references() const;
  // What the results are; unknown_metric() where there is none.
  nn::Metric metric() const;
  // "test" or "validation": what they are measured on.
  std::string measured_on() const;

 private:
  const std::vector<ComparedRun>& runs_;
  std::vector<std::string> methods_;
  std::vector<Variant> columns_;
  std::vector<ComparisonCell> cells_;  // [method][column]
};

// "1 bit", "3 bits"; "adaptive:6" and whatever else has no whole number of bits by its name; with
// the scope when it is not the tensor.
std::string column_title(const Variant& column);

// compressions_json() of the finished runs with the configuration in each row, and "best" by
// codebook and "failed": what has no result and why.
Json comparison_json(const std::vector<ComparedRun>& runs);

}  // namespace tessera::experiment
