// A comparison as tables for people.
#pragma once

#include <ostream>

#include "experiment/comparison.h"

namespace tessera::experiment {

// The table of results, the table of sizes and times, and what failed.
void print_comparison(std::ostream& out, const std::vector<ComparedRun>& runs);

}  // namespace tessera::experiment
