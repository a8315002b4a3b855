// ptb sample: text that a model makes up, token by token, each from what was carried of all before.
#pragma once

#include <string>
#include <vector>

#include "apps/cli/benchmark.h"

namespace tessera::apps {

int sample_verb(const Benchmark& benchmark, const std::vector<std::string>& args);

}  // namespace tessera::apps
