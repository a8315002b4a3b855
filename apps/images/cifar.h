// What the applications cifar10 and cifar100 share: networks, data, settings.
#pragma once

#include "apps/cli/benchmark.h"

namespace tessera::apps {

// The benchmark of CIFAR with 10 or 100 classes.
Benchmark cifar(std::int64_t classes);

}  // namespace tessera::apps
