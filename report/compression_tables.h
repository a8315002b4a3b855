// Finished compressions as tables.
#pragma once

#include <ostream>
#include <vector>

#include "experiment/compression.h"

namespace tessera::experiment {

// A row per compression; with several seeds then a row per method and codebook with means and
// standard errors.
void print_compressions(std::ostream& out, const std::vector<Compression>& rows);

}  // namespace tessera::experiment
