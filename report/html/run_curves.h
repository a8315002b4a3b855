// What a run's log says over its epochs.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "report/html/plot.h"

namespace tessera::experiment {

// Any numbers that events carry, whatever the events are: a field "fc1.weight.distance" is the
// quantity "distance" of "fc1.weight", a field "distance" that of everything together ("").
using Quantities = std::map<std::string, std::map<std::string, Points>>;  // quantity -> of what

// Who wrote a log, and how far it came.
struct LoggedRun {
  std::string method, codebook;  // none: a reference
  std::int64_t group_rows = 0, seed = 0;
  double sparse = 0;
  std::string phase;
  double epoch = 0, epochs = 0;  // done, and to be done in the phase
};

struct RunCurves {
  Points loss, rate;  // of training, by epochs done
  // What was measured on the way, by metric ("test_error").
  std::map<std::string, Points> measured;
  std::map<std::string, Quantities> events;  // by kind: "c_step", "coefficients", ...
  LoggedRun run;
  int unreadable_lines = 0;  // cut off when a process was killed

  const Points* find(const std::string& event, const std::string& quantity,
                     const std::string& of = "") const;
};

// Reads the lines of a log, each an object of RunLog. Where a run went on from a checkpoint, what
// it repeated replaces what was there. Phases that follow each other stand one behind the other.
RunCurves parse_run_log(const std::string& text, const std::string& file);
// None of it when there is no such file. Throws Error when it cannot be read.
RunCurves read_run_log(const std::filesystem::path& file);

}  // namespace tessera::experiment
