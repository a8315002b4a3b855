// Networks of models/zoo.h as applications offer them.
#pragma once

#include "apps/common/benchmark.h"

namespace tessera::apps {

// A choice of zoo_network(): the multiplier of the channels, for networks that have one.
Choice width_choice();

// Benchmark::network and Benchmark::sample by the zoo's names. Throws Error for a width that is no
// number, or given to a network that does not scale.
Network zoo_network(const std::string& name, std::int64_t classes, const Config& choices);
Shape zoo_sample(const std::string& name);

}  // namespace tessera::apps
