// Networks of models/zoo.h as applications offer them.
#pragma once

#include "apps/cli/benchmark.h"

namespace tessera::apps {

// Choices of zoo_network(): the multiplier of the channels, and whether a ReLU stands behind the
// first convolution, for networks that have them.
Choice width_choice();
Choice stem_choice();

// Benchmark::network by the zoo's names, for a classification. Throws Error for a width that is no
// number, a stem that is unknown, or either given to a network that has no such choice.
Network zoo_network(const std::string& name, const nn::Task& task, const Config& choices);
// Classification of samples as the network takes them.
std::shared_ptr<const nn::Task> zoo_task(const std::string& name, std::int64_t classes);

}  // namespace tessera::apps
