// coco detect: what a model finds in pictures, as text, JSON and PNG files with the boxes drawn;
// coco score: average precision of a file of results.
#pragma once

#include <string>
#include <vector>

#include "apps/cli/benchmark.h"

namespace tessera::apps {

int detect_verb(const Benchmark& benchmark, const std::vector<std::string>& args);
int score_verb(const Benchmark& benchmark, const std::vector<std::string>& args);

}  // namespace tessera::apps
