// Images without a file, for measurements of speed.
#pragma once

#include "apps/common/benchmark.h"

namespace tessera::apps {

inline constexpr const char* kRandomData = "random";  // --data of bench

// `samples` random samples, uniform in [-1, 1), with random labels.
Data random_data(const Shape& sample, std::int64_t classes, std::int64_t samples);

}  // namespace tessera::apps
