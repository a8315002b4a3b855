// The built-in stand-in for MNIST: digits drawn by a simulated pen, so that every example, test and
// benchmark runs without a download.
#pragma once

#include <cstdint>

#include "datasets/dataset.h"

namespace tessera::datasets {

struct SyntheticDigits {
  std::int64_t train = 10000;  // images
  std::int64_t test = 2000;
  std::uint64_t seed = 1;
};

// Images u8 [n, 28, 28], labels s32 [n] with label i mod 10 (balanced in every prefix; Batches
// shuffles). Image i is a function of (seed, split, i) alone, so a larger set begins with the
// smaller one and the bits do not depend on threads. Throws Error when a size is below 1 or above
// 10 million.
Split synthetic_digits(const SyntheticDigits& options = {});

}  // namespace tessera::datasets
