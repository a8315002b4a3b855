// MNIST (LeCun, Cortes, Burges) and sets published in the same four files (Fashion-MNIST, KMNIST).
#pragma once

#include <filesystem>

#include "datasets/dataset.h"

namespace tessera::datasets {

// Reads train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
// t10k-labels-idx1-ubyte from `dir` or `dir`/mnist, each with or without .gz, also spelled with a
// dot (train-images.idx3-ubyte). Images u8 [n, 28, 28], labels s32 [n]. Throws Error when a file is
// missing (saying what is expected where), malformed (see read_idx), not 28x28, when the numbers of
// images and labels differ, or when a label is above 9.
Split mnist(const std::filesystem::path& dir);
// The two t10k files alone, for models that need no training images.
Dataset mnist_test(const std::filesystem::path& dir);

// Images without labels, u8 [n, 28, 28]: of every file in `dir` with "idx3-ubyte" in its name, in
// the order of names, plain, gzip or xz. Throws Error when there is none, or it is none of those.
Tensor mnist_images(const std::filesystem::path& dir);

}  // namespace tessera::datasets
