// What measured kernels changed, for people.
#pragma once

#include <ostream>
#include <string>

#include "timing/tuning.h"

namespace tessera::experiment {

void print_tuning(std::ostream& out, const Tuning& tuning, const std::string& file);

}  // namespace tessera::experiment
