// How well a network does, on all that is measured and on each part of it.
#pragma once

#include <string>
#include <vector>

#include "apps/common/benchmark.h"
#include "core/files/json_io.h"

namespace tessera::apps {

struct Part {
  std::string name;
  nn::Evaluation result;
  bool seen = false;  // as TestSet's
};

struct Measured {
  nn::Evaluation all;       // of what the network has not seen
  std::vector<Part> parts;  // in the order of the test sets
  std::int64_t classes = 0;
  std::string on = "test";  // or "validation", as Data::measured_on

  bool top5() const { return classes >= 100; }  // whether the top-5 error means something
  double top5_error() const;                    // percent
  // "test error 2.13 % (9787 of 10000 correct)", the top-5 error where there are many classes, each
  // part where there are several, and what counts for nothing because the network may have been
  // trained on it.
  std::string text() const;
  // "measured_on", "test_error" and "test_loss" (or "validation_error", "validation_loss"),
  // "correct", "samples", "correct5", "classes", "parts", "top5_error".
  Json json() const;
  static Measured parse(const JsonAt& at);
};

// Measures an inference graph. `batch` 0: nn::evaluation_batch().
Measured measure(const Graph& graph, State& state, const Data& data, bool packed_only = false,
                 std::int64_t batch = 0);

// What a table shows beside the error on everything: the top-5 error, and the error on each part.
std::vector<std::string> extra_columns(const Measured& measured);
std::vector<std::string> extra_cells(const Measured& measured);

}  // namespace tessera::apps
