// The built-in stand-in for CIFAR: one motif somewhere in a cluttered colour image, so that every
// example, test and benchmark runs without a download.
#pragma once

#include <cstdint>

#include "datasets/dataset.h"

namespace tessera::datasets {

struct SyntheticImages {
  std::int64_t classes = 10;   // 10 or 100
  std::int64_t train = 10000;  // images
  std::int64_t test = 2000;
  std::uint64_t seed = 1;
};

// Images u8 [n, 3, 32, 32], labels s32 [n] with label i mod classes (balanced in every prefix;
// Batches shuffles). Of 10 classes each is a shape, drawn in any of ten textures; of 100 it is
// shape * 10 + texture (datasets/motifs.h names them). Place, size, angle and all colours are
// random, shapes have equal areas, and an image is as likely as its negative, so the mean image of
// every class is the same grey: no template of pixels tells classes apart, edges and their
// arrangement do. Softmax regression on the normalized pixels of the default sets gets 11 % of the
// test images right with 10 classes and 1.7 % with 100, at 20 epochs and the best learning rate of
// 1e-4, 1e-3 and 1e-2. Image i is a function of (seed, classes, split, i) alone, so a larger set
// begins with the smaller one and the bits do not depend on threads. Throws Error when classes is
// neither 10 nor 100 or a size is below 1 or above 10 million.
Split synthetic_images(const SyntheticImages& options = {});

}  // namespace tessera::datasets
